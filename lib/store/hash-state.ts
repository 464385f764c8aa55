import { createSHA256, createSHA512, type IHasher } from 'hash-wasm';
import type { Algorithm } from '../oci/digest.ts';

/*
 * Only needed for blobs that take long. Import this file lazily: then other pulls do not load the WebAssembly, and
 * bundles take the two hashes alone from hash-wasm.
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
  const hasher = await create[algorithm]();
  return resumable(hasher.init());
}

/** The hash that continues from a state; undefined if the state is not one of this algorithm and version of hash-wasm. */
export async function resumeHash(algorithm: Algorithm, state: string): Promise<ResumableHash | undefined> {
  const hasher = await create[algorithm]();
  try {
    return resumable(hasher.load(Buffer.from(state, 'base64')));
  } catch {
    return undefined; // Wrong length, or written by another build, by its first bytes.
  }
}

const create = { sha256: createSHA256, sha512: createSHA512 };

const resumable = (hasher: IHasher): ResumableHash => ({
  update: (bytes) => void hasher.update(bytes),
  exportState: () => Buffer.from(hasher.save()).toString('base64'),
  digest: () => hasher.digest('hex'),
});
