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

/** What keeps one lease alive. */
interface HeartbeatOptions {
  /** How long the lease stands without a renewal. */
  readonly durationMs: number;
  /** When the write that acquired it was sent, by the monotonic clock. */
  readonly startedMs: number;
  /** One renewal: whether the lease is still ours. It must end when its signal fires. */
  readonly renew: (signal: AbortSignal) => Promise<boolean>;
  /** Told once, when the lease may be somebody else's. Not after `stop`. */
  readonly lose: (why: string, cause?: unknown) => void;
  /** The monotonic clock. */
  readonly nowMs?: () => number;
}

export interface Heartbeat {
  /** No renewal is under way when it returns, and none follows. Idempotent. */
  stop(): Promise<void>;
}

/** Beats in one duration. Each renewal must end before the next beat, so that one that hangs does not cost the lease. */
const BEATS = 3;
const RENEWALS_PER_DURATION = 4;
const LOOKS_PER_DURATION = 10;

/**
 * Renews three times in each duration. Counts from the moment a renewal was sent, by the monotonic clock: errs on the side of "lost".
 *
 * A renewal that fails is not the end: the next beat tries again, until a whole duration went by without one that got through.
 */
export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { durationMs, startedMs, renew, lose, nowMs = () => performance.now() } = options;
  let safeUntilMs = startedMs + durationMs;
  let renewing: Promise<void> | undefined;
  let lastFailure: unknown;
  let stopped = false;

  const beat = async (): Promise<void> => {
    const sentMs = nowMs();
    try {
      const held = await renew(AbortSignal.timeout(durationMs / RENEWALS_PER_DURATION));
      if (held) safeUntilMs = sentMs + durationMs;
      else end('somebody else holds it');
    } catch (error) {
      lastFailure = error;
    }
  };
  const renewOnce = (): void => {
    renewing ??= beat().finally(() => (renewing = undefined));
  };
  const beats = setInterval(renewOnce, durationMs / BEATS);
  const looks = setInterval(() => {
    if (nowMs() >= safeUntilMs) end(`it could not be renewed for ${durationMs} ms`, lastFailure);
  }, durationMs / LOOKS_PER_DURATION);
  const stop = async (): Promise<void> => {
    stopped = true;
    clearInterval(beats);
    clearInterval(looks);
    await renewing;
  };
  const end = (why: string, cause?: unknown): void => {
    if (stopped) return;
    void stop();
    lose(why, cause);
  };
  // An acquisition that was slow to answer (a throttled table) used up much of its lease already.
  if (nowMs() - startedMs >= durationMs / BEATS) renewOnce();
  return { stop };
}
