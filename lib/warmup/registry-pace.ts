import { sleep } from '../async/time.ts';
import { RateLimitedError } from '../errors/cache-error.ts';
import { newPermits } from '../async/parallel.ts';

/** The deadline of a run. */
export interface RunTime {
  /** Aborts with a DeadlineError at the deadline. */
  readonly signal: AbortSignal;
  /** The deadline in epoch milliseconds: a longer wait is not begun. */
  readonly endsAtMs: number;
}

/** Concurrent requests to one registry. */
const PARALLEL = 4;
/** Pause if the registry sends no Retry-After. */
const USUAL_PAUSE_MS = 60_000;
/** Spreads the requests after a pause. */
const SPREAD_MS = 1_000;
/** Pauses in one run. After that, the registry is left to the next run. */
const PAUSES = 3;

/** Limits the requests to one registry in one run. */
export interface RegistryPace {
  /**
   * Runs `work`, a few at a time. If the registry limits our requests, runs it again after the pause that the registry asks for.
   *
   * @throws RateLimitedError if the pause ends after the run, or after too many pauses; then every later call throws it, too.
   */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when no pause is on. @throws like `run`. */
  ready(): Promise<void>;
  isPaused(): boolean;
  /** Pauses all requests to the registry. */
  pause(retryAfterMs?: number): void;
}

export function registryPace(registry: string, time: RunTime): RegistryPace {
  const permits = newPermits(PARALLEL);
  let pausedUntilMs = 0;
  let pauses = 0;

  const isPaused = (): boolean => pausedUntilMs > Date.now();
  const pause = (retryAfterMs = USUAL_PAUSE_MS): void => {
    // Requests that were sent before the pause do not start another one.
    if (!isPaused()) pauses += 1;
    pausedUntilMs = pauses > PAUSES ? Infinity : Math.max(pausedUntilMs, Date.now() + retryAfterMs);
  };
  const ready = async (): Promise<void> => {
    time.signal.throwIfAborted();
    while (isPaused()) {
      if (pausedUntilMs > time.endsAtMs) throw pausedTooLong(registry, pausedUntilMs);
      await sleep(pausedUntilMs - Date.now() + Math.random() * SPREAD_MS, time.signal);
    }
  };
  return {
    isPaused,
    pause,
    ready,
    async run(work) {
      for (;;) {
        await ready();
        // A permit is not held during a pause.
        const done = await permits.run(async () => (isPaused() ? undefined : await attempt(work)));
        if (done !== undefined) return done.value;
      }
    },
  };

  async function attempt<T>(work: () => Promise<T>): Promise<{ readonly value: T } | undefined> {
    try {
      return { value: await work() };
    } catch (error) {
      if (!(error instanceof RateLimitedError)) throw error;
      pause(error.retryAfterMs);
      return undefined;
    }
  }
}

function pausedTooLong(registry: string, untilMs: number): RateLimitedError {
  const detail =
    untilMs === Infinity
      ? `did so again after each of ${PAUSES} pauses`
      : `accepts none before ${new Date(untilMs).toISOString()}, after the end of this run`;
  return new RateLimitedError(
    'warm up',
    `${registry} limits our requests, and ${detail}; the next run goes on; if this happens often, configure credentials for the registry`,
    untilMs === Infinity ? undefined : Math.max(0, untilMs - Date.now()),
  );
}
