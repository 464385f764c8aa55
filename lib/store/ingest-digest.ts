import { createHash, type Hash } from 'node:crypto';
import type { IHasher } from 'hash-wasm';
import type { Algorithm } from '../oci/digest.ts';

/*
 * hash-wasm is only needed for blobs that take long. Import this file lazily, so that other pulls do not load
 * the WebAssembly.
 */

/**
 * A hash whose state another process can continue. Its SHA-256 is five times slower than that of
 * `node:crypto`, which cannot export its state.
 */
export interface ResumableHash {
  update(bytes: Uint8Array): void;
  /** The state after all bytes so far, as text. It contains the last of those bytes: up to 63 for SHA-256, 127 for SHA-512. */
  exportState(): string;
  /** Lower-case hex. Ends it. */
  digest(): string;
}

/** The hash from byte 0 on. */
export async function resumableHash(algorithm: Algorithm): Promise<ResumableHash> {
  const hasher = await createHasher(algorithm);
  return resumable(hasher.init());
}

/** The hash that continues from a state; undefined if the state is not one of this algorithm and version of hash-wasm. */
export async function resumeHash(algorithm: Algorithm, state: string): Promise<ResumableHash | undefined> {
  const hasher = await createHasher(algorithm);
  try {
    return resumable(hasher.load(Buffer.from(state, 'base64')));
  } catch {
    return undefined; // Wrong length, or written by another build, by its first bytes.
  }
}

/** Loaded on first use: most downloads never need it. */
async function createHasher(algorithm: Algorithm): Promise<IHasher> {
  const { createSHA256, createSHA512 } = await import('hash-wasm');
  return await (algorithm === 'sha256' ? createSHA256() : createSHA512());
}

const resumable = (hasher: IHasher): ResumableHash => ({
  update: (bytes) => void hasher.update(bytes),
  exportState: () => Buffer.from(hasher.save()).toString('base64'),
  digest: () => hasher.digest('hex'),
});

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
    if (this.#states === 'none yet') this.#states = await resumableHash(this.#options.algorithm);
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
