import { BusyError } from '../errors/cache-error.ts';
import { newPermits } from '../async/parallel.ts';
import type { ServeCall } from './serving.ts';

/** Bounds how many callers wait for blobs. */
export interface WaitingRoom {
  /**
   * A permit to wait, until it is disposed of.
   *
   * @throws BusyError at once if all are taken.
   */
  enter(call: ServeCall): Promise<AsyncDisposable>;
}

/** The waiting room of one process. */
export function processWaitingRoom(most: number): WaitingRoom {
  const permits = newPermits(most);
  return {
    enter() {
      const permit = permits.take();
      if (permit === undefined) return Promise.reject(tooMany(most));
      const leave = (): Promise<void> => {
        permit[Symbol.dispose]();
        return Promise.resolve();
      };
      return Promise.resolve({ [Symbol.asyncDispose]: leave });
    },
  };
}

export const tooMany = (most: number): BusyError =>
  new BusyError('wait for blob', `${most} callers are already waiting for blobs; ask again in a moment`);
