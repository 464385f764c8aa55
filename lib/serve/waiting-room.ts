import { BusyError } from '../errors/cache-error.ts';
import { newPermits } from '../async/parallel.ts';
import type { ServeCall } from './serving.ts';

/** Where callers wait for a blob that is on its way: so many, and no more. */
export interface WaitingRoom {
  /**
   * A seat until it is disposed of.
   *
   * @throws BusyError at once if there is none.
   */
  enter(call: ServeCall): Promise<AsyncDisposable>;
}

/** The room of one process. */
export function processWaitingRoom(most: number): WaitingRoom {
  const seats = newPermits(most);
  return {
    enter() {
      const seat = seats.take();
      if (seat === undefined) return Promise.reject(tooMany(most));
      const leave = (): Promise<void> => {
        seat[Symbol.dispose]();
        return Promise.resolve();
      };
      return Promise.resolve({ [Symbol.asyncDispose]: leave });
    },
  };
}

export const tooMany = (seats: number): BusyError =>
  new BusyError('wait for blob', `${seats} callers wait for blobs already; ask again in a moment`);
