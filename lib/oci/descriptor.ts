import { createHash } from 'node:crypto';
import type { Digest } from './digest.ts';
import type { Platform } from './platform.ts';

/** What is pointed at: https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. A claim of whoever wrote the parent, checked on every read. */
  readonly size: number;
}

/** An entry of an index. */
export interface IndexEntry extends Descriptor {
  readonly platform?: Platform;
  /** The manifest that this one is the attestation of (`vnd.docker.reference.digest`). */
  readonly attests?: Digest;
  /** Why it cannot be pulled: its descriptor is broken, or it is of a form that nobody can verify. Then it may have a digest of our making. */
  readonly fault?: string;
}

/**
 * The content that a descriptor carries itself (`data`, base64), where it has the digest and size of the descriptor. Anything else in `data` is as if it were not there.
 * https://github.com/opencontainers/image-spec/blob/main/descriptor.md#embedded-content
 */
export function inlineData(data: unknown, { digest, size }: Descriptor): Uint8Array | undefined {
  if (typeof data !== 'string' || size > data.length) return undefined;
  const bytes = Buffer.from(data, 'base64');
  if (bytes.byteLength !== size) return undefined;
  const algorithm = digest.slice(0, digest.indexOf(':'));
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` === digest ? bytes : undefined;
}

const UTF8_MARK = [0xef, 0xbb, 0xbf];

/**
 * The JSON in `bytes`. What is not UTF-8 is read as Latin-1: a byte that is wrong in an annotation changes nothing that has a meaning here. A byte order mark is
 * ignored (RFC 8259, section 8.1); Go refuses one, so clients in Go cannot use such a document, but that is not for us to say.
 *
 * @throws SyntaxError where it is no JSON in either.
 */
export function parseJson(bytes: Uint8Array): unknown {
  const isMarked = UTF8_MARK.every((byte, i) => bytes[i] === byte);
  return JSON.parse(textOf(isMarked ? bytes.subarray(UTF8_MARK.length) : bytes)) as unknown;
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  }
}
