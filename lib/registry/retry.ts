import { setTimeout as sleep } from 'node:timers/promises';
import { RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { UpstreamLimits } from './settings.ts';

const BASE_DELAY_MS = 200;
const MAX_DELAY_MS = 10_000;

/** Whether the same request may succeed in a moment: the upstream was busy, broken or gone. */
export const isTransient = (error: unknown): error is RateLimitedError | UpstreamUnavailableError =>
  error instanceof RateLimitedError || error instanceof UpstreamUnavailableError;

/**
 * What `attempt` gives, tried up to `limits.attempts` times while it fails with a transient error; the last one is thrown.
 *
 * @throws RateLimitedError at once if the upstream asks for a longer wait than `limits.retryAfterMaxMs`; the signal's reason.
 */
export async function withRetries<T>(
  limits: Pick<UpstreamLimits, 'attempts' | 'retryAfterMaxMs'>,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (!isTransient(error)) throw error;
      const { retryAfterMs } = error;
      if (retryAfterMs !== undefined && retryAfterMs > limits.retryAfterMaxMs) {
        throw new RateLimitedError(error.op, error.message, retryAfterMs);
      }
      if (tries >= limits.attempts) throw error;
      await pause(backoffMs(tries) + (retryAfterMs ?? 0), signal);
    }
  }
}

/** Full jitter: anywhere between nothing and a limit that doubles. https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/ */
export function backoffMs(tries: number): number {
  return Math.random() * Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** (tries - 1));
}

/** @throws the signal's reason, if it fires first. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** The wait that a `Retry-After` asks for: seconds or a date (RFC 9110, section 10.2.3). Undefined if it is neither. */
export function parseRetryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  const text = value?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  // Date.parse takes many things; an HTTP date starts with the name of a day.
  const dateMs = /^[a-z]{3,9},? /i.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}
