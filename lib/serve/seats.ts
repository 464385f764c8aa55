/** So many at the same time, and no more. */
export interface Seats {
  readonly most: number;
  /** A seat until it is disposed of; undefined where all are taken. */
  take(): Disposable | undefined;
}

/** The seats of one process. */
export function processSeats(most: number): Seats {
  let taken = 0;
  return {
    most,
    take() {
      if (taken >= most) return undefined;
      taken += 1;
      return { [Symbol.dispose]: () => void (taken -= 1) };
    },
  };
}
