import { sleep } from '../async/time.ts';
import type { Fence } from './fence.ts';
import { leaseWatch } from './heartbeat.ts';

/**
 * A lease, renewed while it is held. `signal` fires when renewing failed or another process took the lease
 * over: all work under it must stop. Disposal releases it. Releasing a lost lease does nothing.
 */
export interface Lease extends Fence, AsyncDisposable {
  /** The attributes of its row after the acquisition. */
  readonly row: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /**
   * Stops renewing, so that a renewal does not race a write that ends the lease (publish, commit). The lease
   * lasts for the rest of its duration.
   */
  stopRenewing(): Promise<void>;
  /**
   * Stops renewing and leaves the row to the next process that adopts the lease; disposal then sends nothing.
   * Without one, it expires after its duration.
   */
  letGo(): Promise<void>;
  /** Frees the row, if it is still ours. Idempotent. */
  release(): Promise<void>;
  /** Another write of ours has freed the row: disposal sends nothing. */
  markReleased(): void;
}

/** The lease as a refused acquisition found it. */
export interface HeldLease {
  readonly holder: string;
  readonly version: string;
  readonly durationMs: number;
  readonly leaseUntilMs: number;
}

export interface Leases {
  /**
   * Continues a lease that another process of the same work acquired (a task of the same workflow), by its
   * fence: renews it now and while it is held. Several processes may hold it at once. `release` frees the row
   * for all of them; {@link Lease.letGo} leaves it to the next.
   *
   * @throws LeaseLostError if that holder no longer has it; CatalogError
   */
  adopt(fence: Fence, signal: AbortSignal): Promise<Lease>;
  /**
   * The same for work that begins anew: the lease gets another holder and the next generation. Late writes of
   * an earlier try under `fence` are refused.
   *
   * @throws LeaseLostError if that holder no longer has it; CatalogError
   */
  retake(fence: Fence, signal: AbortSignal): Promise<Lease>;
  /**
   * One try. A lease that is free, or whose holder {@link LeaseWatch} knows to be dead, becomes ours.
   *
   * If it is stopped by `signal`, or gets no answer, it gives back within seconds what it may have taken, and
   * then throws.
   *
   * @param watch what earlier tries of this waiter saw, by its own monotonic clock.
   * @throws CatalogError
   */
  tryAcquire(name: string, watch: LeaseWatch, signal: AbortSignal): Promise<Lease | HeldLease>;
}

/** What one waiter knows of a lease that another process holds. */
export interface LeaseWatch {
  /** Remembers `held` as seen now. */
  saw(held: HeldLease): void;
  /** Whether an earlier try found it held. */
  hasSeen(): boolean;
  /** Remembers `held` as seen now. Returns whether its holder is known to be dead: then the next try takes the lease over. */
  isDead(held: HeldLease): boolean;
  /** The version that did not change for the holder's whole `durationMs` by our monotonic clock, if there is one. */
  unrenewedVersion(): string | undefined;
  /** How long to wait before the next try, in milliseconds, with jitter. Grows to a second. */
  nextDelayMs(): number;
}

export const isLease = (outcome: Lease | HeldLease): outcome is Lease => 'release' in outcome;

/**
 * The lease, as soon as it is free or its holder is known to be dead. Waits until `signal` fires and then
 * throws its reason.
 *
 * @param refused called, and awaited, with the holder when the first try was refused.
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
