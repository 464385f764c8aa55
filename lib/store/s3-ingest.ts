import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { ContentMismatchError, StoreError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { BufferPool } from './buffer-pool.ts';
import { appendCrc32, crc32Base64 } from './checksums.ts';
import type { Checkpoint, Ingest, StoredContent } from './content-store.ts';
import type { PartPlan } from './parts.ts';
import type { S3Bucket } from './s3-client.ts';
import { putContent } from './s3-content.ts';
import { PartUploads } from './s3-parts.ts';

/** What one ingest is about. */
export interface IngestOptions {
  readonly bucket: S3Bucket;
  readonly content: Descriptor;
  readonly domain: TrustDomain;
  readonly plan: PartPlan;
  readonly signal: AbortSignal;
}

/**
 * Content on its way into S3: hashed in order as it comes; content of one part is held back and stored by one PUT, larger content goes up part by part
 * while the next bytes come.
 *
 * Calls must not overlap. When `write` or `commit` throws, no request of this ingest is under way any more.
 */
export class S3Ingest implements Ingest {
  /** Always fresh: `node:crypto` cannot take up a hash in the middle. */
  readonly offset = 0;

  readonly #options: IngestOptions;
  readonly #pool: BufferPool;
  /** Undefined for content that goes by one PUT. */
  readonly #parts: PartUploads | undefined;
  readonly #hash = createHash('sha256');
  #bytes = 0;
  #buffer: Buffer | undefined;
  #filled = 0;
  /** CRC-32 of what is in the buffer. */
  #partCrc = 0;
  /** CRC-32 of all parts that were sent. */
  #crc = 0;
  /** CRC-32 of parts 1…n, by n. */
  readonly #prefixCrcs = [0];
  #state: 'open' | 'committing' | 'committed' | 'aborted' = 'open';
  #discarded: Promise<void> | undefined;

  constructor(options: IngestOptions) {
    const { bucket, content, domain, plan, signal } = options;
    this.#options = options;
    this.#parts = plan.parts > 1 ? new PartUploads(bucket, content.digest, domain, signal) : undefined;
    this.#pool = new BufferPool(Math.min(plan.partBytes, content.size), plan.windowParts);
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { content } = this.#options;
    await this.#mustGoOn('write content');
    if (this.#bytes + chunk.byteLength > content.size) {
      await this.abort();
      throw this.#mismatch(`more than ${content.size} bytes came`);
    }
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
    for (let taken = 0; taken < chunk.byteLength;) {
      if (this.#buffer === undefined) {
        this.#buffer = await this.#pool.acquire();
        await this.#mustGoOn('write content');
      }
      const piece = chunk.subarray(taken, taken + this.#buffer.byteLength - this.#filled);
      // Right after the hash and before the copy: while the piece is in the processor's cache this costs a third.
      if (this.#parts !== undefined) this.#partCrc = crc32(piece, this.#partCrc);
      this.#buffer.set(piece, this.#filled);
      taken += piece.byteLength;
      this.#filled += piece.byteLength;
      if (this.#filled === this.#buffer.byteLength) this.#sendPart();
    }
  }

  /** Sends what is in the buffer as the next part. Content of one part stays, for `commit`. */
  #sendPart(): void {
    const buffer = this.#buffer;
    if (this.#parts === undefined || buffer === undefined) return;
    const bytes = buffer.subarray(0, this.#filled);
    this.#crc = appendCrc32(this.#crc, this.#partCrc, bytes.byteLength);
    this.#prefixCrcs.push(this.#crc);
    this.#parts.start(bytes, this.#partCrc, () => this.#pool.release(buffer));
    this.#buffer = undefined;
    this.#filled = 0;
    this.#partCrc = 0;
  }

  async commit(): Promise<StoredContent> {
    const { bucket, content, domain, signal } = this.#options;
    await this.#mustGoOn('commit content');
    this.#state = 'committing';
    await this.#compare();
    if (this.#parts === undefined) {
      const bytes = this.#buffer ?? Buffer.alloc(0);
      const stored = await putContent(bucket, content, bytes, domain, signal);
      this.#state = 'committed';
      return stored;
    }
    if (this.#filled > 0) this.#sendPart();
    await this.#parts.settle();
    const stored = await this.#parts.complete(content, crc32Base64(this.#crc));
    this.#state = 'committed';
    return stored;
  }

  /** Size and digest, before anything can become visible. */
  async #compare(): Promise<void> {
    const { content } = this.#options;
    const digest = `sha256:${this.#hash.digest('hex')}`;
    if (this.#bytes === content.size && digest === content.digest) return;
    await this.abort();
    const found = this.#bytes === content.size ? `the bytes have digest ${digest}` : `${this.#bytes} bytes came`;
    throw this.#mismatch(found);
  }

  abort(): Promise<void> {
    if (this.#state === 'committed') return Promise.resolve();
    this.#state = 'aborted';
    this.#discarded ??= this.#parts?.discard() ?? Promise.resolve();
    return this.#discarded;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  checkpoint(): Checkpoint | undefined {
    const { partBytes } = this.#options.plan;
    const { uploadId, startedMs, partsDone: uploaded } = this.#parts ?? {};
    if (uploadId === undefined || startedMs === undefined || uploaded === undefined) return undefined;
    if (this.#state === 'committed' || this.#state === 'aborted') return undefined;
    // The last part may be shorter, and is not worth a successor's while.
    const partsDone = Math.min(uploaded, Math.floor(this.#bytes / partBytes));
    const crc = this.#prefixCrcs[partsDone];
    if (partsDone === 0 || crc === undefined) return undefined;
    return { uploadId, startedMs, partBytes, partsDone, crc32: crc32Base64(crc) };
  }

  /** Throws if the ingest is over, or if a part failed or the caller's signal fired: then once all parts have ended. */
  async #mustGoOn(op: string): Promise<void> {
    if (this.#state !== 'open') {
      throw new StoreError(op, `this ingest is ${this.#state}; begin another one`, undefined, false);
    }
    const { signal } = this.#options;
    if (signal.aborted) {
      await this.#parts?.stop();
      signal.throwIfAborted();
    }
    if (this.#parts?.failed === true) await this.#parts.settle();
  }

  #mismatch(found: string): ContentMismatchError {
    const { digest, size } = this.#options.content;
    return new ContentMismatchError(
      'ingest content',
      `content ${digest} of ${size} bytes was to be stored, but ${found}; nothing of it was kept`,
    );
  }
}
