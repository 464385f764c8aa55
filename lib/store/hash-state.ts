import { createSHA256, createSHA512 } from 'hash-wasm';
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
  const hasher = await create[algorithm]();
  return resumable(hasher.init());
}

/** The hash that goes on from a state; undefined where the state is none of this algorithm and version of hash-wasm. */
export async function resumeHash(algorithm: Algorithm, state: string): Promise<ResumableHash | undefined> {
  const hasher = await create[algorithm]();
  try {
    return resumable(hasher.load(Buffer.from(state, 'base64')));
  } catch {
    return undefined; // Of another length, or written by another build: it says so in its first bytes.
  }
}

const create = { sha256: createSHA256, sha512: createSHA512 };

type Hasher = Awaited<ReturnType<typeof createSHA256>>;

const resumable = (hasher: Hasher): ResumableHash => ({
  update: (bytes) => void hasher.update(bytes),
  exportState: () => Buffer.from(hasher.save()).toString('base64'),
  digest: () => hasher.digest('hex'),
});
