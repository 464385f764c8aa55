import { appendFileSync } from 'node:fs';
import { boundLog, logFile } from '../logs.ts';

/** An object that was deleted. */
export interface Deletion {
  readonly bucket: string;
  readonly key: string;
  /** ISO 8601. */
  readonly time: string;
}

const NAME = 'deletions';

/** The record of deletions in the folder of an endpoint: JSON lines, rotated to `.1` above its bound. */
export const deletionsFile = (root: string): string => logFile(root, NAME);

/**
 * Records the deletion of an object, from which events are made. Never throws, because the object is deleted already: a failed write loses the event,
 * and is logged on stderr.
 */
export function recordDeletion(root: string, bucket: string, key: string): void {
  try {
    boundLog(root, NAME);
    const deletion: Deletion = { bucket, key, time: new Date().toISOString() };
    appendFileSync(deletionsFile(root), `${JSON.stringify(deletion)}\n`, { mode: 0o600 });
  } catch (error) {
    process.stderr.write(`${JSON.stringify({ bucket, key, fault: `no event of its deletion: ${String(error)}` })}\n`);
  }
}
