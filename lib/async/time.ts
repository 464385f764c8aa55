import { setTimeout as delay } from 'node:timers/promises';
import { DeadlineError } from '../errors/cache-error.ts';

/** Resolves after `ms`; throws the signal's reason as soon as it fires. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

export interface Deadline extends Disposable {
  /** Aborts with a DeadlineError. */
  readonly signal: AbortSignal;
}

/**
 * A deadline `afterMs` from now. Disposal stops its timer: Lambda would freeze a running timer, and it would
 * fire in the next invocation.
 */
export function startDeadline(afterMs: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new DeadlineError(
        `the ${Math.round(afterMs / 1000)} s for this call are over; ask again, what was finished is kept`,
      ),
    );
  }, afterMs);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
    },
  };
}

/**
 * Runs `work` with a signal that fires only `graceMs` after `signal` did, with its reason: for the one
 * request that should still happen when everything else stops.
 */
export async function withGrace<T>(
  signal: AbortSignal,
  graceMs: number,
  work: (late: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const start = (): void => {
    timer = setTimeout(() => late.abort(signal.reason), graceMs);
  };
  if (signal.aborted) start();
  else signal.addEventListener('abort', start, { once: true });
  try {
    return await work(late.signal);
  } finally {
    signal.removeEventListener('abort', start);
    clearTimeout(timer);
  }
}
