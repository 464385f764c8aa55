import { sleep } from '../async/time.ts';
import { LeaseHeldError, LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease, type Lease } from '../lock/lease.ts';
import { formatReference } from '../reference/reference.ts';
import { pullLeaseName } from '../table/keys.ts';
import type { JobDeps } from './jobs.ts';
import type { PullRecord } from './pull-record.ts';

/** Enough for a pull that is nearly done. For a longer wait, the state machine waits free of charge. */
const USUAL_PATIENCE_MS = 20_000;

type LockDeps = Pick<JobDeps, 'leases' | 'metrics' | 'lockPatienceMs'>;

/**
 * The lock of the record's reference: that of an earlier planning of the same pull if we still hold it, else a new one. Always with a new fence, so that an earlier
 * planning that still runs can write nothing more.
 *
 * @throws LeaseHeldError if another pull holds it for longer than `lockPatienceMs`.
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
        `another pull of ${formatReference(reference)} still runs after ${lockPatienceMs / 1000} s; wait for it`,
      );
    }
    await sleep(delayMs, signal);
  }
}

/** Runs `work` under the lock that an earlier task acquired, and keeps it for the next task unless `work` releases it. @throws LeaseLostError */
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

/** Releases the lock if we still hold it. */
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
