import { leaseWatch } from './lease-watch.ts';
import { isLease, type Lease, type Leases } from './lease.ts';
import { sleep } from '../clock/sleep.ts';

/** The lease, as soon as it is free or its holder is known to be dead. Waits until `signal` fires and then throws its reason. */
export async function acquire(leases: Pick<Leases, 'tryAcquire'>, name: string, signal: AbortSignal): Promise<Lease> {
  const watch = leaseWatch();
  for (;;) {
    const outcome = await leases.tryAcquire(name, watch, signal);
    if (isLease(outcome)) return outcome;
    await sleep(watch.nextDelayMs(), signal);
  }
}
