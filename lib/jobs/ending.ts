import { LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Lease, Leases } from '../lock/lease.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { Receipt } from '../pull/receipt.ts';
import { formatReference } from '../reference/reference.ts';
import type { JobDeps } from './jobs.ts';
import type { PullRecord, PullRecords } from './pull-record.ts';

/** Ends the pull with its receipt and the duration since the request, counts it, releases the lock, and announces it last. */
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

/** Announces how the pull ended, except for hits and for pulls of single blobs. A repeated task announces it again, because it may have died before. */
export async function announceEnd(
  { announcer }: Pick<JobDeps, 'announcer'>,
  { id, request, receipt, failure }: PullRecord,
  signal: AbortSignal,
): Promise<void> {
  if (request.blob !== undefined) return;
  if (receipt !== undefined) {
    // Nothing was copied, and no pointer moved.
    if (receipt.outcome === 'hit') return;
    await announcer.announce({ type: 'Image Cached', detail: { pullId: id, receipt } }, signal);
  } else if (failure !== undefined) {
    const reference = formatReference(request.reference);
    await announcer.announce({ type: 'Pull Failed', detail: { pullId: id, reference, error: failure } }, signal);
  }
}

/** The failure of a pull whose workflow was stopped, timed out or broke before it ended the pull. */
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
 * Ends a pull whose execution does not run as failed, and releases its lock. Returns the record; one that has ended already stays unchanged.
 * A task that still runs loses its lock, and stops. Idempotent.
 *
 * @throws CatalogError
 */
export async function endAbandoned(
  { records, leases }: { readonly records: PullRecords; readonly leases: Pick<Leases, 'adopt'> },
  id: string,
  signal: AbortSignal,
): Promise<PullRecord> {
  // End the record first: a task that still runs could adopt the lock until then, and stops afterwards.
  const record = await records.fail(id, ABANDONED, signal);
  if (record.lock !== undefined) await free(leases, record.lock, signal);
  return record;
}

async function free(leases: Pick<Leases, 'adopt'>, lock: Fence, signal: AbortSignal): Promise<void> {
  try {
    const lease = await leases.adopt(lock, signal);
    await lease.release();
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error; // Released already, or held by another pull.
  }
}
