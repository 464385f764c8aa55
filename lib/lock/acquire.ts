import { leaseWatch } from './lease-watch.ts';
import { isLease, type HeldLease, type Lease, type Leases } from './lease.ts';
import { sleep } from '../async/time.ts';

/**
 * The lease, as soon as it is free or its holder is known to be dead. Waits until `signal` fires and then throws its reason.
 *
 * @param refused is told who held it when the first try was refused, and waited for.
 */
export async function acquire(
  leases: Pick<Leases, 'tryAcquire'>,
  name: string,
  signal: AbortSignal,
  refused: (held: HeldLease) => Promise<void> = () => Promise.resolve(),
): Promise<Lease> {
  const watch = leaseWatch();
  for (let first = true; ; first = false) {
    const outcome = await leases.tryAcquire(name, watch, signal);
    if (isLease(outcome)) return outcome;
    if (first) await refused(outcome);
    await sleep(watch.nextDelayMs(), signal);
  }
}
