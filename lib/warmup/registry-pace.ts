import { sleep } from '../async/time.ts';
import { RateLimitedError } from '../errors/cache-error.ts';
import { newPermits } from '../async/parallel.ts';

/** Until when a run may work. */
export interface RunTime {
  /** Aborts with a DeadlineError when it is over. */
  readonly signal: AbortSignal;
  /** The same moment, epoch milliseconds: a wait that cannot end before is not begun. */
  readonly endsAtMs: number;
}

/** Questions to one registry at the same time. */
const PARALLEL = 4;
/** Where the registry does not say how long it wants to rest. */
const USUAL_REST_MS = 60_000;
/** So that those who waited do not all come back at once. */
const SPREAD_MS = 1_000;
/** Rests in one run. A registry that limits us again and again is left to the next run. */
const RESTS = 3;

/** How fast one registry may be asked in one run. */
export interface RegistryPace {
  /**
   * Runs `work` when the registry may be asked, a few at a time; again after the rest that it asks for, if it limits our requests.
   *
   * @throws RateLimitedError if that rest does not fit into the run, or was not enough several times; then for all that follows, too.
   */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when the registry may be asked. @throws as {@link run} does. */
  ready(): Promise<void>;
  isResting(): boolean;
  /** The registry told somebody to wait: everybody does. */
  rest(retryAfterMs?: number): void;
}

export function registryPace(registry: string, time: RunTime): RegistryPace {
  const permits = newPermits(PARALLEL);
  let restsUntilMs = 0;
  let rests = 0;

  const isResting = (): boolean => restsUntilMs > Date.now();
  const rest = (retryAfterMs = USUAL_REST_MS): void => {
    // Questions that were under way when the rest began are part of it.
    if (!isResting()) rests += 1;
    restsUntilMs = rests > RESTS ? Infinity : Math.max(restsUntilMs, Date.now() + retryAfterMs);
  };
  const ready = async (): Promise<void> => {
    time.signal.throwIfAborted();
    while (isResting()) {
      if (restsUntilMs > time.endsAtMs) throw restsTooLong(registry, restsUntilMs);
      await sleep(restsUntilMs - Date.now() + Math.random() * SPREAD_MS, time.signal);
    }
  };
  return {
    isResting,
    rest,
    ready,
    async run(work) {
      for (;;) {
        await ready();
        // Nobody waits for the registry with a permit in hand.
        const done = await permits.run(async () => (isResting() ? undefined : await attempt(work)));
        if (done !== undefined) return done.value;
      }
    },
  };

  async function attempt<T>(work: () => Promise<T>): Promise<{ readonly value: T } | undefined> {
    try {
      return { value: await work() };
    } catch (error) {
      if (!(error instanceof RateLimitedError)) throw error;
      rest(error.retryAfterMs);
      return undefined;
    }
  }
}

function restsTooLong(registry: string, untilMs: number): RateLimitedError {
  const said =
    untilMs === Infinity
      ? `did so after each of ${RESTS} rests`
      : `wants no more of them before ${new Date(untilMs).toISOString()}, after the end of this run`;
  return new RateLimitedError(
    'warm up',
    `${registry} limits our requests, and ${said}; the next run goes on, give the registry credentials if this stays`,
    untilMs === Infinity ? undefined : Math.max(0, untilMs - Date.now()),
  );
}
