import { sleep } from '../async/time.ts';
import { CacheError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Session, Sources } from './session.ts';
import type { UpstreamLimits } from './settings.ts';

const BASE_DELAY_MS = 200;
const MAX_DELAY_MS = 10_000;
/** No registry means a wait of more than a day. Also keeps huge numbers finite. */
const RETRY_AFTER_LIMIT_MS = 86_400_000;

/** Whether the same request may soon succeed: the upstream was busy, broken or unreachable. */
export const isTransient = (error: unknown): error is RateLimitedError | UpstreamUnavailableError =>
  error instanceof RateLimitedError || error instanceof UpstreamUnavailableError;

/**
 * The result of `attempt`, tried up to `limits.attempts` times while its error is one of `mayPass`. Throws the last error.
 *
 * @throws the error at once if it asks for a longer wait than `limits.retryAfterMaxMs`; the signal's reason.
 */
export async function withRetries<T>(
  limits: Pick<UpstreamLimits, 'attempts' | 'retryAfterMaxMs'>,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  mayPass: (error: unknown) => error is RateLimitedError | UpstreamUnavailableError = isTransient,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (!mayPass(error)) throw error;
      const { retryAfterMs } = error;
      if (tries >= limits.attempts || (retryAfterMs ?? 0) > limits.retryAfterMaxMs) throw error;
      await sleep(backoffMs(tries) + (retryAfterMs ?? 0), signal);
    }
  }
}

/** Full jitter: random between 0 and a limit that doubles with each try. https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/ */
export function backoffMs(tries: number): number {
  return Math.random() * Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** (tries - 1));
}

/** The wait that a `Retry-After` asks for: seconds or a date (RFC 9110, section 10.2.3). Undefined if it is neither. */
export function parseRetryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  const text = value?.trim() ?? '';
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, RETRY_AFTER_LIMIT_MS);
  // Date.parse accepts many formats; an HTTP date starts with the name of a day.
  const dateMs = /^[a-z]{3,9},? /i.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(dateMs) ? undefined : Math.min(Math.max(0, dateMs - nowMs), RETRY_AFTER_LIMIT_MS);
}

/**
 * The first success: of a mirror, or else of the endpoint, whose result is final. After any error of a mirror (unreachable, 5xx,
 * 404, denied, wrong content) the next one is tried.
 */
export async function askInOrder<T>(
  { mirrors, endpoint }: Sources,
  signal: AbortSignal,
  ask: (session: Session) => Promise<T>,
): Promise<T> {
  for (const mirror of mirrors) {
    if (mirror.isCircuitOpen) continue;
    try {
      return await ask(mirror);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CacheError)) throw error;
    }
  }
  return await ask(endpoint);
}
