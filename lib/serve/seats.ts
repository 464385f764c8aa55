/** So many at the same time, and no more. */
export interface Seats {
  readonly most: number;
  /** A seat until it is disposed of; undefined where all are taken. */
  take(): Disposable | undefined;
  /** A seat as soon as one is free: first come, first served. Rejects with the reason of `signal`. */
  wait(signal: AbortSignal): Promise<Disposable>;
}

/** The seats of one process. */
export function processSeats(most: number): Seats {
  let taken = 0;
  const waiting = new Set<(seat: Disposable) => void>();
  const newSeat = (): Disposable => ({
    [Symbol.dispose]() {
      const [next] = waiting;
      if (next === undefined) taken -= 1;
      else {
        waiting.delete(next);
        next(newSeat());
      }
    },
  });
  const take = (): Disposable | undefined => {
    if (taken >= most) return undefined;
    taken += 1;
    return newSeat();
  };
  return {
    most,
    take,
    async wait(signal) {
      signal.throwIfAborted();
      const seat = take();
      if (seat !== undefined) return seat;
      const { promise, resolve, reject } = Promise.withResolvers<Disposable>();
      const leave = (): void => {
        if (waiting.delete(resolve)) reject(signal.reason as Error);
      };
      waiting.add(resolve);
      signal.addEventListener('abort', leave, { once: true });
      return await promise.finally(() => signal.removeEventListener('abort', leave));
    },
  };
}
