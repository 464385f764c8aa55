import { closeSync, copyFileSync, existsSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

/** Above this a log is rotated to `.1`; one process keeps at most two. */
const MAX_LOG_BYTES = 1 << 20;
const TAIL_CHARACTERS = 2_000;

/** Path of the log of one process. */
export const logFile = (folder: string, name: string): string => join(folder, `${name}.log`);

/** Calls `use` with a descriptor that appends to the log. A child inherits its own copy. */
export function withLog<T>(folder: string, name: string, use: (descriptor: number) => T): T {
  const descriptor = openSync(logFile(folder, name), 'a', 0o600);
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Rotates a log that grew too large. Its writer appends (O_APPEND), and continues at the new end. A line written between the copy and
 * the truncation is lost.
 */
export function boundLog(folder: string, name: string): void {
  const file = logFile(folder, name);
  if (!existsSync(file) || statSync(file).size <= MAX_LOG_BYTES) return;
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
}

/** The end of the log, for an error message. */
export function logTail(folder: string, name: string): string {
  const file = logFile(folder, name);
  return existsSync(file) ? readFileSync(file, 'utf8').slice(-TAIL_CHARACTERS).trim() : '';
}
