import { DatabaseSync } from 'node:sqlite';

/** `SQLITE_BUSY`: https://www.sqlite.org/rescode.html#busy */
const SQLITE_BUSY = 5;

/**
 * Takes the lock of `file`; undefined if another process holds it for all of `waitMs`.
 *
 * The kernel frees it when its holder ends, however it ends, so it is never stale. Node has no flock: an exclusive transaction of SQLite on an
 * empty database uses fcntl locks, and works wherever SQLite does. Blocks the thread while it waits: pass 0 and poll to avoid that.
 */
export function tryLock(file: string, waitMs: number): Disposable | undefined {
  const database = new DatabaseSync(file, { timeout: waitMs });
  try {
    database.exec('PRAGMA journal_mode=OFF; BEGIN EXCLUSIVE'); // nothing is ever written
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
    throw error;
  }
  return { [Symbol.dispose]: () => database.close() };
}
