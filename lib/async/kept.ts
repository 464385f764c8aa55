import { CacheError } from '../errors/cache-error.ts';
import { SingleFlight } from './single-flight.ts';

export interface KeptOptions<T> {
  /** Throws CacheErrors. Its signal fires when it takes too long, and not for any one caller. */
  readonly read: (signal: AbortSignal) => Promise<T>;
  /** For so long what was read is not read again. */
  readonly freshMs: number;
  /** For so long it is still used while a retryable error keeps it from being read again. */
  readonly staleMs: number;
  readonly now: () => number;
}

/** After a failure callers get it for so long without another try. */
const REST_MS = 5_000;
/** Of one read. */
const READ_MS = 10_000;

/**
 * What `read` gives, read again from time to time, and once for all who ask meanwhile. A caller whose signal fires leaves the others alone; one that takes
 * nothing older than `atMostMs` has it read again before its time.
 *
 * @throws what `read` throws, if nothing that is not too old is there instead.
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
      // No one waits for it any more: it says nothing of what is read.
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
    if (failure !== undefined && now() < failure.failedMs + REST_MS) return staleInsteadOf(failure.error);
    try {
      return await reading.run('', signal, readAnew);
    } catch (error) {
      signal.throwIfAborted();
      return staleInsteadOf(error);
    }
  };
}
