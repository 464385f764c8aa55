/**
 * Lends at most `limit` buffers of `bytes` each, allocated when first needed and lent again after their release.
 *
 * This is what bounds the memory of an ingest: whoever wants one more waits.
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

  /** A buffer with arbitrary contents. Waits for a release where all are lent. */
  acquire(): Promise<Buffer> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#allocated < this.#limit) {
      this.#allocated += 1;
      return Promise.resolve(Buffer.allocUnsafeSlow(this.#bytes));
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Gives a buffer back, once nobody reads it any more. */
  release(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffer);
    else next(buffer);
  }
}
