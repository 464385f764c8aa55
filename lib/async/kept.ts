import { CacheError } from '../errors/cache-error.ts';
import { SingleFlight } from './single-flight.ts';

export interface KeptOptions<T> {
  /** Reads the value; throws CacheErrors. Its signal fires when it takes too long, not when one caller leaves. */
  readonly read: (signal: AbortSignal) => Promise<T>;
  /** How long a value is used without reading it again. */
  readonly freshMs: number;
  /** How long a value is used while reading it again fails with retryable errors. */
  readonly staleMs: number;
  readonly now: () => number;
}

/** How long callers get the error of a failed read without another try. */
const FAILURE_MS = 5_000;
/** Time-out of one read. */
const READ_MS = 10_000;

/**
 * A value that is cached and read again from time to time, once for all callers at the same time. A caller
 * whose signal fires does not disturb the others. `atMostMs` is the highest age that this caller accepts.
 *
 * @throws what `read` throws, if there is no value that is recent enough.
 */
export function kept<T>({
  read,
  freshMs,
  staleMs,
  now,
}: KeptOptions<T>): (signal: AbortSignal, atMostMs?: number) => Promise<T> {
  let last: { readonly value: T; readonly readMs: number } | undefined;
  let failure: { readonly error: unknown; readonly failedMs: number } | undefined;
  const reading = new SingleFlight<T>();

  const readAnew = async (signal: AbortSignal): Promise<T> => {
    const startedMs = now();
    try {
      const value = await read(AbortSignal.any([signal, AbortSignal.timeout(READ_MS)]));
      last = { value, readMs: startedMs };
      failure = undefined;
      return value;
    } catch (error) {
      // Aborted because no one waits any more: not a failure of the source.
      if (!signal.aborted) failure = { error, failedMs: now() };
      throw error;
    }
  };
  return async (signal, atMostMs) => {
    signal.throwIfAborted();
    const isWithin = (ms: number): boolean => last !== undefined && now() < last.readMs + ms;
    const staleInsteadOf = (error: unknown): T => {
      const isPassing = error instanceof CacheError && error.retryable;
      if (isPassing && last !== undefined && isWithin(atMostMs ?? staleMs)) return last.value;
      throw error;
    };
    if (last !== undefined && isWithin(atMostMs ?? freshMs)) return last.value;
    if (failure !== undefined && now() < failure.failedMs + FAILURE_MS) return staleInsteadOf(failure.error);
    try {
      return await reading.run('', signal, readAnew);
    } catch (error) {
      signal.throwIfAborted();
      return staleInsteadOf(error);
    }
  };
}
