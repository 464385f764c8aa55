import { StoreError } from '../errors/cache-error.ts';

const MIB = 1024 * 1024;
/** S3's own limits of a part: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
export const MIN_PART_BYTES = 5 * MIB;
const MAX_PART_BYTES = 5 * 1024 * MIB;
/** One page of `ListParts`, so that a successor needs one request for all finished parts. */
export const MAX_PARTS = 1000;
const MAX_OBJECT_BYTES = MAX_PARTS * MAX_PART_BYTES;

export const DEFAULT_PART_BYTES = 8 * MIB;
export const DEFAULT_WINDOW_PARTS = 4;

/** How a blob is cut for a multipart upload. All parts but the last have `partBytes`. */
export interface PartPlan {
  /** A multiple of 1 MiB, within S3's limits. */
  readonly partBytes: number;
  /** At most {@link MAX_PARTS}. */
  readonly parts: number;
  /** Buffers held at once, the one being filled included. */
  readonly windowParts: number;
}

/**
 * The plan for a blob of `size` bytes: with the `partBytes` of the configuration if that makes at most {@link
 * MAX_PARTS} parts, else with the smallest larger number of MiB that does. If parts must grow, the window
 * shrinks (to two at least), so that memory stays near `partBytes * windowParts`.
 *
 * @throws StoreError for a blob that 1,000 of the largest parts cannot hold (4.88 TiB).
 */
export function planParts(size: number, partBytes: number, windowParts: number): PartPlan {
  if (size > MAX_OBJECT_BYTES) {
    throw new StoreError(
      'begin ingest',
      `a blob of ${size} bytes was to be stored, but ${MAX_PARTS} parts hold at most ${MAX_OBJECT_BYTES} bytes; it cannot be cached`,
      undefined,
      false,
    );
  }
  const wanted = Math.max(partBytes, MIN_PART_BYTES, Math.ceil(size / MAX_PARTS));
  const planned = Math.min(Math.ceil(wanted / MIB) * MIB, MAX_PART_BYTES);
  const affordable = Math.max(2, Math.floor((partBytes * windowParts) / planned));
  return {
    partBytes: planned,
    parts: Math.ceil(size / planned),
    windowParts: Math.min(windowParts, affordable),
  };
}

/**
 * Lends at most `limit` buffers of `bytes` each, allocated when first needed and lent again after their release.
 *
 * This bounds the memory of an ingest: without a free buffer, the caller waits.
 */
export class BufferPool {
  readonly #bytes: number;
  readonly #limit: number;
  #allocated = 0;
  readonly #free: Buffer[] = [];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];

  constructor(bytes: number, limit: number) {
    this.#bytes = bytes;
    this.#limit = limit;
  }

  /** A buffer with arbitrary contents. Waits for a release if all are lent. */
  acquire(): Promise<Buffer> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#allocated < this.#limit) {
      this.#allocated += 1;
      return Promise.resolve(Buffer.allocUnsafeSlow(this.#bytes));
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Gives a buffer back when no one reads it any more. */
  release(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffer);
    else next(buffer);
  }
}
