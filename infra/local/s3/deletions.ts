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

/** The record of deletions in the folder of an endpoint: one a line, in JSON; above its bound it is moved aside to `.1`. */
export const deletionsFile = (root: string): string => logFile(root, NAME);

/**
 * Records that an object was deleted, for those who deliver events. Never throws: the object is gone already, so that a line that cannot be written is an event that
 * is lost, and a line on stderr.
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
