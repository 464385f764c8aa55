import { LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Lease, Leases } from '../lock/lease.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { Receipt } from '../pull/receipt.ts';
import { formatReference } from '../reference/reference.ts';
import type { JobDeps } from './jobs.ts';
import type { PullRecord, PullRecords } from './pull-record.ts';

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

/** Why a pull ended that its workflow did not end itself: stopped from outside, timed out, or broken. */
export const ABANDONED: PullFailure = {
  name: 'WorkflowEndedError',
  message:
    'the workflow that carried out this pull ended without a result: it was stopped, ran out of time or broke; pull again',
  status: 503,
  retryable: true,
};

/** Whether the pull was ended by {@link endAbandoned}, here or elsewhere. */
export const isAbandoned = ({ failure }: PullRecord): boolean => failure?.name === ABANDONED.name;

/**
 * Ends a pull whose execution does not run (any more) as failed, and frees its lock for the next one. The record as it stands comes back: an end that the
 * workflow wrote itself stays. A task that still runs finds that its lock is lost, and stops. Idempotent.
 *
 * @throws CatalogError
 */
export async function endAbandoned(
  { records, leases }: { readonly records: PullRecords; readonly leases: Pick<Leases, 'adopt'> },
  id: string,
  signal: AbortSignal,
): Promise<PullRecord> {
  // First the end: until then a task that still runs may take the lock on, and from then on it finds that there is nothing to do.
  const record = await records.fail(id, ABANDONED, signal);
  if (record.lock !== undefined) await free(leases, record.lock, signal);
  return record;
}

async function free(leases: Pick<Leases, 'adopt'>, lock: Fence, signal: AbortSignal): Promise<void> {
  try {
    const lease = await leases.adopt(lock, signal);
    await lease.release();
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error; // Free already, or somebody else's.
  }
}
