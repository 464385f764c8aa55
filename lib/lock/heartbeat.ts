import type { HeldLease, LeaseWatch } from './lease.ts';

/** The clock skew between two machines that we allow for, before a lease that ended counts as dead. */
export const SKEW_MS = 60_000;
const FIRST_DELAY_MS = 40;
const LONGEST_DELAY_MS = 1000;

/**
 * What a waiter has seen of one lease, by its own monotonic clock.
 *
 * Errs on the side of "still held": a version counts from the moment its answer arrived.
 */
export function leaseWatch(nowMs: () => number = () => performance.now()): LeaseWatch {
  let seen: { version: string; durationMs: number; sinceMs: number } | undefined;
  let polls = 0;
  const saw = (held: HeldLease): void => {
    polls += 1;
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
      const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(polls, 10));
      return ceiling / 2 + (Math.random() * ceiling) / 2;
    },
  };
}

/** How to keep one lease alive. */
interface HeartbeatOptions {
  /** How long the lease lasts without a renewal. */
  readonly durationMs: number;
  /** When the write that acquired it was sent, by the monotonic clock. */
  readonly startedMs: number;
  /** Renews once; returns whether the lease is still ours. Must end when its signal fires. */
  readonly renew: (signal: AbortSignal) => Promise<boolean>;
  /** Called once, as soon as the lease may be lost. Not after `stop`. */
  readonly onLost: (why: string, cause?: unknown) => void;
  /** The monotonic clock. */
  readonly nowMs?: () => number;
}

export interface Heartbeat {
  /** When it returns, no renewal is under way, and none follows. Idempotent. */
  stop(): Promise<void>;
}

/** Renewals in one duration. Each must end before the next begins, so that one that hangs does not cost the lease. */
const BEATS = 3;
const RENEWALS_PER_DURATION = 4;
const CHECKS_PER_DURATION = 10;

/**
 * Renews three times in each duration. Counts from the moment a renewal was sent, by the monotonic clock:
 * errs on the side of "lost".
 *
 * After a failed renewal the next one tries again. The lease counts as lost after a whole duration without a
 * success.
 */
export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { durationMs, startedMs, renew, onLost, nowMs = () => performance.now() } = options;
  let safeUntilMs = startedMs + durationMs;
  let renewing: Promise<void> | undefined;
  let lastFailure: unknown;
  let stopped = false;

  const beat = async (): Promise<void> => {
    const sentMs = nowMs();
    try {
      const held = await renew(AbortSignal.timeout(durationMs / RENEWALS_PER_DURATION));
      if (held) safeUntilMs = sentMs + durationMs;
      else end('another process holds it');
    } catch (error) {
      lastFailure = error;
    }
  };
  const renewOnce = (): void => {
    renewing ??= beat().finally(() => (renewing = undefined));
  };
  const beats = setInterval(renewOnce, durationMs / BEATS);
  const checks = setInterval(() => {
    if (nowMs() >= safeUntilMs) end(`it could not be renewed for ${durationMs} ms`, lastFailure);
  }, durationMs / CHECKS_PER_DURATION);
  const stop = async (): Promise<void> => {
    stopped = true;
    clearInterval(beats);
    clearInterval(checks);
    await renewing;
  };
  const end = (why: string, cause?: unknown): void => {
    if (stopped) return;
    void stop();
    onLost(why, cause);
  };
  // A slow acquisition (a throttled table) has used up part of its lease already.
  if (nowMs() - startedMs >= durationMs / BEATS) renewOnce();
  return { stop };
}
