import { createSHA256 } from 'hash-wasm';

/*
 * Imported only when it is needed, for blobs that take long: nobody else loads the WebAssembly.
 */

/** SHA-256 whose state another process can take up: a fifth as fast as `node:crypto`, which cannot export its own. */
export interface ResumableSha256 {
  update(bytes: Uint8Array): void;
  /** The state after all bytes so far, as text. Holds up to 63 of those bytes. */
  exportState(): string;
  /** Lower-case hex. Ends it. */
  digest(): string;
}

/** SHA-256 from byte 0 on. */
export async function resumableSha256(): Promise<ResumableSha256> {
  const hasher = await createSHA256();
  return resumable(hasher.init());
}

/** SHA-256 that goes on from a state; undefined where the state is none of this version of hash-wasm. */
export async function resumeSha256(state: string): Promise<ResumableSha256 | undefined> {
  const hasher = await createSHA256();
  try {
    return resumable(hasher.load(Buffer.from(state, 'base64')));
  } catch {
    return undefined; // Of another length, or written by another build: it says so in its first bytes.
  }
}

type Hasher = Awaited<ReturnType<typeof createSHA256>>;

const resumable = (hasher: Hasher): ResumableSha256 => ({
  update: (bytes) => void hasher.update(bytes),
  exportState: () => Buffer.from(hasher.save()).toString('base64'),
  digest: () => hasher.digest('hex'),
});
