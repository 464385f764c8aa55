import { BusyError } from '../errors/cache-error.ts';
import type { ServeCall } from './serve-deps.ts';

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
export function processWaitingRoom(seats: number): WaitingRoom {
  let taken = 0;
  return {
    enter() {
      if (taken >= seats) return Promise.reject(tooMany(seats));
      taken += 1;
      return Promise.resolve({
        [Symbol.asyncDispose]: () => {
          taken -= 1;
          return Promise.resolve();
        },
      });
    },
  };
}

export const tooMany = (seats: number): BusyError =>
  new BusyError('wait for blob', `${seats} callers wait for blobs already; ask again in a moment`);
