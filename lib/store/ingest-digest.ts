import { createHash, type Hash } from 'node:crypto';
import type { IHasher } from 'hash-wasm';
import type { Algorithm } from '../oci/digest.ts';

/*
 * Imported only when it is needed, for blobs that take long: nobody else loads the WebAssembly.
 */

/** A hash whose state another process can take up: SHA-256 a fifth as fast as `node:crypto`, which cannot export its own. */
export interface ResumableHash {
  update(bytes: Uint8Array): void;
  /** The state after all bytes so far, as text. Holds the last of those bytes: up to 63 of SHA-256, 127 of SHA-512. */
  exportState(): string;
  /** Lower-case hex. Ends it. */
  digest(): string;
}

/** The hash from byte 0 on. */
export async function resumableHash(algorithm: Algorithm): Promise<ResumableHash> {
  const hasher = await createHasher(algorithm);
  return resumable(hasher.init());
}

/** The hash that goes on from a state; undefined where the state is none of this algorithm and version of hash-wasm. */
export async function resumeHash(algorithm: Algorithm, state: string): Promise<ResumableHash | undefined> {
  const hasher = await createHasher(algorithm);
  try {
    return resumable(hasher.load(Buffer.from(state, 'base64')));
  } catch {
    return undefined; // Of another length, or written by another build: it says so in its first bytes.
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

/** Bytes that come within this time are cheaper fetched again than hashed twice. */
export const DEFAULT_RESUMABLE_ABOVE_MS = 30_000;

export interface IngestDigestOptions {
  readonly algorithm: Algorithm;
  /** Of the whole content. */
  readonly size: number;
  /** A state is kept only while the rest would take longer than this at the rate so far. */
  readonly resumableAboveMs: number;
  readonly nowMs?: () => number;
}

/**
 * The digest of an ingest from byte 0 on, with its state at the end of each part as long as the content comes slowly (docs/decisions/0015-resume-mid-blob.md).
 *
 * `node:crypto` has the digest; the hash that can export its state runs beside it, a part behind, and is given up for good once the rest will soon be
 * there. So fast content costs no more than without it.
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

  /** To be called after each part, with its bytes: the state after them, if it is kept. */
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
