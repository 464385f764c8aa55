/** At most `permits` holders at a time, first come first served. Nobody should hold one while waiting for another puller. */
export interface Limiter {
  run<T>(work: () => Promise<T>): Promise<T>;
}

export function limiter(permits: number): Limiter {
  let free = permits;
  const waiting: (() => void)[] = [];
  return {
    async run(work) {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next === undefined) free += 1;
        else next();
      }
    },
  };
}

/**
 * Runs `work` for all at once. The first failure stops the others through the signal they were given, and is the one thrown,
 * after all have settled: nothing runs on after the call returned.
 */
export async function allOrFirstFailure<T, R>(
  all: readonly T[],
  signal: AbortSignal,
  work: (one: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const siblings = new AbortController();
  const stop = AbortSignal.any([signal, siblings.signal]);
  const running = all.map(async (one) => {
    try {
      return await work(one, stop);
    } catch (error) {
      siblings.abort(error);
      throw error;
    }
  });
  await Promise.allSettled(running);
  signal.throwIfAborted();
  siblings.signal.throwIfAborted();
  return Promise.all(running);
}
