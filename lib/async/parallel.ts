/** Permits for at most `most` holders at a time, first come first served. Hold none while waiting for another process. */
export interface Permits {
  readonly most: number;
  /** A permit, until it is disposed of; undefined if all are taken. */
  take(): Disposable | undefined;
  /** A permit as soon as one is free. Throws the signal's reason when it fires. */
  wait(signal: AbortSignal): Promise<Disposable>;
  /** Runs the work with a permit, as soon as one is free. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/** Permits for this process. */
export function newPermits(most: number): Permits {
  let taken = 0;
  const waiting = new Set<(permit: Disposable) => void>();
  const newPermit = (): Disposable => ({
    [Symbol.dispose]() {
      const [next] = waiting;
      if (next === undefined) taken -= 1;
      else {
        waiting.delete(next);
        next(newPermit());
      }
    },
  });
  const take = (): Disposable | undefined => {
    if (taken >= most) return undefined;
    taken += 1;
    return newPermit();
  };
  return {
    most,
    take,
    async wait(signal) {
      signal.throwIfAborted();
      const permit = take();
      if (permit !== undefined) return permit;
      const { promise, resolve, reject } = Promise.withResolvers<Disposable>();
      const leave = (): void => {
        if (waiting.delete(resolve)) reject(signal.reason as Error);
      };
      waiting.add(resolve);
      signal.addEventListener('abort', leave, { once: true });
      return await promise.finally(() => signal.removeEventListener('abort', leave));
    },
    async run(work) {
      using _permit = take() ?? (await new Promise<Disposable>((resolve) => waiting.add(resolve)));
      return await work();
    },
  };
}

/**
 * Runs `work` for all at once. The first failure stops the others through the signal they were given, and is
 * the one thrown, after all have settled: nothing runs on after the call returned.
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
