import { sleep } from '../async/time.ts';
import type { Fence } from './fence.ts';
import { leaseWatch } from './heartbeat.ts';

/**
 * A lease that is being renewed while it is held. `signal` fires when renewing failed or somebody took the lease over: all work under it must stop.
 * Disposal releases it; releasing one that was lost does nothing.
 */
export interface Lease extends Fence, AsyncDisposable {
  /** The attributes of its row, as taking it left them. */
  readonly row: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /** Stops renewing, so that a renewal does not race a write that ends the lease (publish, commit). The lease stands for the rest of its duration. */
  stopRenewing(): Promise<void>;
  /** Stops renewing and leaves the row to whoever adopts the lease next; disposal then sends nothing. It lapses after its duration if nobody does. */
  letGo(): Promise<void>;
  /** Frees the row, if it is still ours. Idempotent. */
  release(): Promise<void>;
  /** Tells the lease that a conditional write of ours freed the row already, so that disposal sends nothing. */
  markReleased(): void;
}

/** What a refused acquisition saw. */
export interface HeldLease {
  readonly holder: string;
  readonly version: string;
  readonly durationMs: number;
  readonly leaseUntilMs: number;
}

export interface Leases {
  /**
   * Goes on with a lease that another process of the same work acquired (a task of the same workflow), by its fence: renews it now and while it is held.
   * Several may hold it at once. `release` frees the row for all of them; {@link Lease.letGo} leaves it to the next.
   *
   * @throws LeaseLostError if it is not that holder's any more; CatalogError
   */
  adopt(fence: Fence, signal: AbortSignal): Promise<Lease>;
  /**
   * The same for work that begins anew: the lease gets another holder and the next generation, and whatever an earlier try of the work still writes under
   * `fence` is refused.
   *
   * @throws LeaseLostError if it is not that holder's any more; CatalogError
   */
  retake(fence: Fence, signal: AbortSignal): Promise<Lease>;
  /**
   * One try. A lease that is free, or that {@link LeaseWatch} knows to be dead, becomes ours.
   *
   * Stopped by `signal`, or left without an answer, it gives back what it may have taken, within some seconds, before it throws.
   *
   * @param watch remembers what earlier tries of this waiter saw, by its own monotonic clock.
   * @throws CatalogError
   */
  tryAcquire(name: string, watch: LeaseWatch, signal: AbortSignal): Promise<Lease | HeldLease>;
}

/** What one waiter knows of a lease held by somebody else. */
export interface LeaseWatch {
  /** Remembers `held` as seen now. */
  saw(held: HeldLease): void;
  /** Whether an earlier try found it held. */
  hasSeen(): boolean;
  /** Remembers `held` as seen now, and says whether its holder is known to be dead: the next try takes the lease over. */
  isDead(held: HeldLease): boolean;
  /** The version that stood unchanged for the holder's whole `durationMs` by our monotonic clock, if one did. */
  unrenewedVersion(): string | undefined;
  /** How long to wait before the next look, in milliseconds, with jitter. Grows to a second. */
  nextDelayMs(): number;
}

export const isLease = (outcome: Lease | HeldLease): outcome is Lease => 'release' in outcome;

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
