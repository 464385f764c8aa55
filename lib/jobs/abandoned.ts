import { LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Leases } from '../lock/lease.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { PullRecord, PullRecords } from './pull-record.ts';

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
