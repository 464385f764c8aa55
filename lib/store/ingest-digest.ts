import { createHash, type Hash } from 'node:crypto';
import type { Algorithm } from '../oci/digest.ts';
import type { ResumableHash } from './hash-state.ts';

/** Bytes that come within this time are cheaper to fetch again than to hash twice. */
export const DEFAULT_RESUMABLE_ABOVE_MS = 30_000;

export interface IngestDigestOptions {
  readonly algorithm: Algorithm;
  /** Bytes of the whole content. */
  readonly size: number;
  /** The state is kept only while the rest would take longer than this at the rate so far. */
  readonly resumableAboveMs: number;
  readonly nowMs?: () => number;
}

/**
 * The digest of an ingest from byte 0 on, with its state at the end of each part as long as the content comes
 * slowly (docs/decisions/0015-resume-mid-blob.md).
 *
 * `node:crypto` computes the digest. The hash with the exportable state runs beside it, a part behind, and is
 * dropped once the rest will be there soon. So fast content costs no more than without it.
 */
export class IngestDigest {
  readonly #options: IngestDigestOptions;
  readonly #nowMs: () => number;
  readonly #whole: Hash;
  #startedMs: number | undefined;
  #bytes = 0;
  #states: 'none yet' | 'given up' | ResumableHash = 'none yet';

  constructor(options: IngestDigestOptions) {
    this.#options = options;
    this.#whole = createHash(options.algorithm);
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  update(bytes: Uint8Array): void {
    this.#startedMs ??= this.#nowMs();
    this.#whole.update(bytes);
    this.#bytes += bytes.byteLength;
  }

  /** Call it after each part, with its bytes. Returns the state after them, if it is kept. */
  async endPart(part: Uint8Array): Promise<string | undefined> {
    if (this.#states === 'given up') return undefined;
    if (!this.#isSlow()) {
      this.#states = 'given up';
      return undefined;
    }
    if (this.#states === 'none yet') {
      const { resumableHash } = await import('./hash-state.ts');
      this.#states = await resumableHash(this.#options.algorithm);
    }
    this.#states.update(part);
    return this.#states.exportState();
  }

  #isSlow(): boolean {
    const { size, resumableAboveMs } = this.#options;
    const tookMs = this.#nowMs() - (this.#startedMs ?? this.#nowMs());
    return ((size - this.#bytes) / this.#bytes) * tookMs >= resumableAboveMs;
  }

  /** Lower-case hex. Ends it. */
  digest(): string {
    return this.#whole.digest('hex');
  }
}

/** The digest of a resumed ingest: one hash, whose state is known at each part. */
export class ResumedDigest {
  readonly #hash: ResumableHash;

  constructor(hash: ResumableHash) {
    this.#hash = hash;
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  endPart(): Promise<string> {
    return Promise.resolve(this.#hash.exportState());
  }

  digest(): string {
    return this.#hash.digest();
  }
}
