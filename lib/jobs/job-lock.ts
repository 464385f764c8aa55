import { sleep } from '../async/time.ts';
import { LeaseHeldError, LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease, type Lease } from '../lock/lease.ts';
import { formatReference } from '../reference/reference.ts';
import { pullLeaseName } from '../table/keys.ts';
import type { JobDeps } from './jobs.ts';
import type { PullRecord } from './pull-record.ts';

/** A pull that is nearly done ends within this; for longer ones, waiting in the state machine costs nothing. */
const USUAL_PATIENCE_MS = 20_000;

type LockDeps = Pick<JobDeps, 'leases' | 'metrics' | 'lockPatienceMs'>;

/**
 * The lock of the record's reference: the one that an earlier planning of the same pull left, if it is still ours, or a new one. Under a fence of its own in both
 * cases: an earlier planning that still runs can write nothing any more.
 *
 * @throws LeaseHeldError if another pull holds it for longer than is worth waiting here.
 */
export async function lockFor(
  deps: LockDeps,
  { lock, request: { reference } }: PullRecord,
  signal: AbortSignal,
): Promise<Lease> {
  const kept = lock === undefined ? undefined : await ifStillOurs(deps.leases.retake(lock, signal));
  if (kept !== undefined) return kept;
  const { lockPatienceMs = USUAL_PATIENCE_MS } = deps;
  const watch = leaseWatch();
  const startedMs = performance.now();
  for (;;) {
    const first = !watch.hasSeen();
    const outcome = await deps.leases.tryAcquire(pullLeaseName(reference), watch, signal);
    if (isLease(outcome)) return outcome;
    if (first) deps.metrics.add('LeaseWaits', 1);
    const delayMs = watch.nextDelayMs();
    if (performance.now() - startedMs + delayMs > lockPatienceMs) {
      throw new LeaseHeldError(
        'lock reference',
        `another pull of ${formatReference(reference)} is under way, and was for more than ${lockPatienceMs / 1000} s; wait for it`,
      );
    }
    await sleep(delayMs, signal);
  }
}

/** Runs `work` under a lock that an earlier task took, and leaves it to the next task, unless `work` released it. @throws LeaseLostError */
export async function underLock<T>(
  deps: LockDeps,
  fence: Fence,
  signal: AbortSignal,
  work: (lock: Lease, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lock = await deps.leases.adopt(fence, signal);
  try {
    return await work(lock, AbortSignal.any([signal, lock.signal]));
  } finally {
    await lock.letGo();
  }
}

/** Frees the lock, if it is still ours. */
export async function freeLock(deps: LockDeps, fence: Fence | undefined, signal: AbortSignal): Promise<void> {
  const kept = fence === undefined ? undefined : await ifStillOurs(deps.leases.adopt(fence, signal));
  await kept?.release();
}

async function ifStillOurs(kept: Promise<Lease>): Promise<Lease | undefined> {
  try {
    return await kept;
  } catch (error) {
    if (error instanceof LeaseLostError) return undefined;
    throw error;
  }
}
