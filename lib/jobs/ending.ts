import type { PullRecord } from './pull-record.ts';
import type { Receipt } from '../pull/receipt.ts';
import type { Lease } from '../lock/lease.ts';
import { formatReference } from '../reference/reference.ts';
import type { JobDeps } from './job-deps.ts';

/** Ends the pull with its receipt, which then says how long it took from the request on; counts it, frees the lock, and then tells the bus: nobody waits for that. */
export async function succeed(
  deps: Pick<JobDeps, 'records' | 'metrics' | 'announcer'>,
  record: PullRecord,
  receipt: Receipt,
  signal: AbortSignal,
  lock?: Pick<Lease, 'release'>,
): Promise<void> {
  const durationMs = Math.max(0, Date.now() - record.createdMs);
  const ended = await deps.records.succeed(record.id, { ...receipt, durationMs }, signal);
  const { metrics } = deps;
  if (receipt.outcome === 'hit') metrics.add('Hits', 1);
  else {
    metrics.add('Misses', 1);
    metrics.add('FillMilliseconds', durationMs);
  }
  metrics.add('BytesSaved', receipt.bytes.present);
  await lock?.release();
  await announceEnd(deps, ended, signal);
}

/** Tells the bus how the pull ended, unless the cache had all of it, or it was of a blob alone, which is no image. A task that is repeated tells it again: it may have died before. */
export async function announceEnd(
  { announcer }: Pick<JobDeps, 'announcer'>,
  { id, request, receipt, failure }: PullRecord,
  signal: AbortSignal,
): Promise<void> {
  if (request.blob !== undefined) return;
  if (receipt !== undefined) {
    // Nothing came in, and no pointer moved.
    if (receipt.outcome === 'hit') return;
    await announcer.announce({ type: 'Image Cached', detail: { pullId: id, receipt } }, signal);
  } else if (failure !== undefined) {
    const reference = formatReference(request.reference);
    await announcer.announce({ type: 'Pull Failed', detail: { pullId: id, reference, error: failure } }, signal);
  }
}
