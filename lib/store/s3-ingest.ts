import { crc32 } from 'node:zlib';
import { ContentMismatchError, StoreError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { BufferPool, type PartPlan } from './parts.ts';
import { appendCrc32, crc32Base64 } from './checksums.ts';
import type { Checkpoint, Ingest, StoredContent } from './content-store.ts';
import { IngestDigest, ResumedDigest } from './ingest-digest.ts';
import { isBadRequest, type S3Bucket } from './s3-client.ts';
import { putContent } from './s3-content.ts';
import { PartUploads } from './s3-parts.ts';
import type { ResumedUpload } from './s3-resume.ts';

/** What one ingest works with. */
export interface IngestOptions {
  readonly bucket: S3Bucket;
  readonly content: Descriptor;
  readonly domain: TrustDomain;
  readonly plan: PartPlan;
  /** The ingest can be resumed only while its rest would take longer than this. */
  readonly resumableAboveMs: number;
  readonly signal: AbortSignal;
}

/** The state after parts 1…n. */
interface Prefix {
  readonly crc32: number;
  /** Undefined if the digest does not keep it. */
  readonly hashState: string | undefined;
}

/**
 * Content that is being stored in S3. It is hashed as it comes. Content of one part is stored by one PUT at
 * the end; larger content is uploaded part by part while the next bytes come.
 *
 * Calls must not overlap. When `write` or `commit` throws, no request of this ingest is under way any more.
 */
export class S3Ingest implements Ingest {
  readonly offset: number;

  readonly #options: IngestOptions;
  readonly #pool: BufferPool;
  /** Undefined for content that is stored by one PUT. */
  readonly #parts: PartUploads | undefined;
  readonly #digest: IngestDigest | ResumedDigest;
  #bytes: number;
  #buffer: Buffer | undefined;
  #filled = 0;
  /** CRC-32 of what is in the buffer. */
  #partCrc = 0;
  /** CRC-32 of all parts that were sent. */
  #crc: number;
  /** By n. A resumed ingest has only the last one of its predecessor. */
  readonly #prefixes = new Map<number, Prefix>();
  #state: 'open' | 'committing' | 'committed' | 'aborted' | 'suspended' = 'open';
  #discarded: Promise<void> | undefined;

  constructor(options: IngestOptions, resumed?: ResumedUpload) {
    const { bucket, content, domain, plan, resumableAboveMs, signal } = options;
    this.#options = options;
    this.#parts = plan.parts > 1 ? new PartUploads(bucket, content.digest, domain, signal, resumed) : undefined;
    this.#pool = new BufferPool(Math.min(plan.partBytes, content.size), plan.windowParts);
    this.offset = resumed?.offset ?? 0;
    this.#bytes = this.offset;
    this.#crc = resumed?.crc32 ?? 0;
    this.#digest =
      resumed === undefined
        ? new IngestDigest({ algorithm: algorithmOf(content.digest), size: content.size, resumableAboveMs })
        : new ResumedDigest(resumed.hash);
    if (resumed === undefined) return;
    this.#prefixes.set(resumed.parts.length, { crc32: resumed.crc32, hashState: resumed.hash.exportState() });
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { content } = this.#options;
    await this.#requireOpen('write content');
    if (this.#bytes + chunk.byteLength > content.size) {
      await this.abort();
      throw this.#mismatch(`more than ${content.size} bytes came`);
    }
    for (let taken = 0; taken < chunk.byteLength;) {
      if (this.#buffer === undefined) {
        this.#buffer = await this.#pool.acquire();
        await this.#requireOpen('write content');
      }
      const piece = chunk.subarray(taken, taken + this.#buffer.byteLength - this.#filled);
      // Hash, CRC and copy in a row: while the piece is in the processor's cache, this costs a third.
      this.#digest.update(piece);
      this.#bytes += piece.byteLength;
      if (this.#parts !== undefined) this.#partCrc = crc32(piece, this.#partCrc);
      this.#buffer.set(piece, this.#filled);
      taken += piece.byteLength;
      this.#filled += piece.byteLength;
      if (this.#filled === this.#buffer.byteLength) await this.#endPart(this.#buffer);
    }
  }

  async #endPart(part: Buffer): Promise<void> {
    if (this.#parts === undefined) return;
    const hashState = await this.#digest.endPart(part);
    await this.#requireOpen('write content');
    this.#sendPart();
    this.#prefixes.set(this.#parts.started, { crc32: this.#crc, hashState });
  }

  /** Uploads the buffer as the next part. Content of one part stays in the buffer, for `commit`. */
  #sendPart(): void {
    const buffer = this.#buffer;
    if (this.#parts === undefined || buffer === undefined) return;
    const bytes = buffer.subarray(0, this.#filled);
    this.#crc = appendCrc32(this.#crc, this.#partCrc, bytes.byteLength);
    this.#parts.start(bytes, this.#partCrc, () => this.#pool.release(buffer));
    this.#buffer = undefined;
    this.#filled = 0;
    this.#partCrc = 0;
  }

  async commit(): Promise<StoredContent> {
    const { bucket, content, domain, signal } = this.#options;
    await this.#requireOpen('commit content');
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
    const stored = await this.#completed(this.#parts);
    this.#state = 'committed';
    return stored;
  }

  async #completed(parts: PartUploads): Promise<StoredContent> {
    try {
      return await parts.complete(this.#options.content, crc32Base64(this.#crc));
    } catch (error) {
      // A late predecessor may have written a part again.
      if (this.offset === 0 || !(error instanceof StoreError) || !isBadRequest(error.cause)) throw error;
      const { digest } = this.#options.content;
      throw new StoreError(
        'complete upload',
        `S3 refused the upload of ${digest} that was resumed at byte ${this.offset}; fetch it again from its start (${error.message})`,
        error,
      );
    }
  }

  /** Size and digest, before anything can become visible. */
  async #compare(): Promise<void> {
    const { content } = this.#options;
    const digest = `${algorithmOf(content.digest)}:${this.#digest.digest()}`;
    if (this.#bytes === content.size && digest === content.digest) return;
    await this.abort();
    const found = this.#bytes === content.size ? `the bytes have digest ${digest}` : `${this.#bytes} bytes came`;
    if (this.offset === 0 || this.#bytes !== content.size) throw this.#mismatch(found);
    // The predecessor's state, or its bytes, may be wrong: only a fresh ingest can decide.
    throw new StoreError(
      'ingest content',
      `content ${content.digest} was resumed at byte ${this.offset}, and ${found}; fetch it again from its start`,
    );
  }

  abort(): Promise<void> {
    if (this.#state === 'committed' || this.#state === 'suspended') return Promise.resolve();
    this.#state = 'aborted';
    this.#discarded ??= this.#parts?.discard() ?? Promise.resolve();
    return this.#discarded;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  async suspend(): Promise<Checkpoint | undefined> {
    await this.#parts?.stop();
    const checkpoint = this.checkpoint();
    if (checkpoint?.hashState === undefined) {
      await this.abort();
      return undefined;
    }
    this.#state = 'suspended';
    return checkpoint;
  }

  checkpoint(): Checkpoint | undefined {
    const { uploadId, startedMs, partsDone = 0 } = this.#parts ?? {};
    if (uploadId === undefined || startedMs === undefined) return undefined;
    if (this.#state !== 'open' && this.#state !== 'committing') return undefined;
    // A successor can resume at the end of any part with a known state. The last part may be shorter, and has none.
    const known = [...this.#prefixes].filter(([parts]) => parts <= partsDone);
    const [parts, prefix] = known.findLast(([, { hashState }]) => hashState !== undefined) ?? known.at(-1) ?? [];
    if (parts === undefined || prefix === undefined) return undefined;
    const { domain, plan } = this.#options;
    const { hashState } = prefix;
    return {
      ...{ uploadId, domain, startedMs, partBytes: plan.partBytes, partsDone: parts, crc32: crc32Base64(prefix.crc32) },
      ...(hashState === undefined ? {} : { hashState }),
    };
  }

  /** Throws if the ingest is over; or, after all parts have ended, if a part failed or the caller's signal fired. */
  async #requireOpen(op: string): Promise<void> {
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
