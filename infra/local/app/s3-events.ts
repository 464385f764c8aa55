import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { deletionsFile, type Deletion } from '../s3/deletions.ts';

export interface S3EventsOptions {
  /** Folder of the embedded S3. */
  readonly root: string;
  readonly region: string;
  readonly accountId: string;
  /** Puts an event on the default bus. */
  readonly put: (event: object) => void;
}

const LOOK_EVERY_MS = 500;

/**
 * Puts an event on the bus for each object that is deleted from the embedded S3 from now on, as S3 does: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
 *
 * Best effort, unlike S3, which delivers at least once: a deletion while this does not run, or just before the S3 is killed, has no event.
 */
export function startS3Events({ root, region, accountId, put }: S3EventsOptions): Disposable {
  const file = deletionsFile(root);
  let offset = sizeOf(file);
  const look = (): void => {
    if (sizeOf(file) < offset) {
      // The file was rotated, with lines that were not read yet.
      for (const deletion of deletionsIn(linesFrom(`${file}.1`, offset).lines))
        put(eventOf(deletion, region, accountId));
      offset = 0;
    }
    const { lines, end } = linesFrom(file, offset);
    offset = end;
    for (const deletion of deletionsIn(lines)) put(eventOf(deletion, region, accountId));
  };
  const timer = setInterval(look, LOOK_EVERY_MS).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The complete lines from an offset, and the offset of their end. */
function linesFrom(file: string, offset: number): { readonly lines: readonly string[]; readonly end: number } {
  const bytes = bytesFrom(file, offset);
  const end = bytes.lastIndexOf('\n') + 1;
  const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1);
  return { lines, end: offset + end };
}

function bytesFrom(file: string, offset: number): Buffer {
  const descriptor = opened(file);
  if (descriptor === undefined) return Buffer.alloc(0);
  try {
    // The writer bounds the file.
    const bytes = Buffer.alloc(Math.max(0, fstatSync(descriptor).size - offset));
    return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, offset));
  } finally {
    closeSync(descriptor);
  }
}

/** Undefined if there is no file: not yet, or just rotated. */
function opened(file: string): number | undefined {
  try {
    return openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** An incomplete line, of a killed writer or a full disk, counts as no deletion. */
function deletionsIn(lines: readonly string[]): Deletion[] {
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as Deletion];
    } catch {
      return []; // Not JSON.
    }
  });
}

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

function eventOf({ bucket, key, time }: Deletion, region: string, account: string): object {
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Object Deleted',
    source: 'aws.s3',
    account,
    time: `${time.slice(0, 19)}Z`,
    region,
    resources: [`arn:aws:s3:::${bucket}`],
    detail: {
      version: '0',
      bucket: { name: bucket },
      object: { key },
      reason: 'DeleteObject',
      'deletion-type': 'Permanently Deleted',
    },
  };
}
