import type { HeldLease, LeaseWatch } from './lease.ts';

/** Clocks of two machines are trusted to this much, and only to get past a holder that died long ago. */
export const SKEW_MS = 60_000;
const FIRST_DELAY_MS = 40;
const LONGEST_DELAY_MS = 1000;

/**
 * A waiter's memory of one lease, by its own monotonic clock: clocks of different machines are never compared here.
 *
 * Errs on the side of "still held": a version counts from the moment its answer was in our hands.
 */
export function leaseWatch(nowMs: () => number = () => performance.now()): LeaseWatch {
  let seen: { version: string; durationMs: number; sinceMs: number } | undefined;
  let looks = 0;
  const saw = (held: HeldLease): void => {
    looks += 1;
    if (seen?.version === held.version) return;
    seen = { version: held.version, durationMs: held.durationMs, sinceMs: nowMs() };
  };
  const unrenewedVersion = (): string | undefined =>
    seen !== undefined && nowMs() - seen.sinceMs >= seen.durationMs ? seen.version : undefined;
  return {
    saw,
    hasSeen: () => seen !== undefined,
    unrenewedVersion,
    isDead(held: HeldLease): boolean {
      saw(held);
      return unrenewedVersion() !== undefined || held.leaseUntilMs < Date.now() - SKEW_MS;
    },
    nextDelayMs(): number {
      const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(looks, 10));
      return ceiling / 2 + (Math.random() * ceiling) / 2;
    },
  };
}
