import { createHash } from 'node:crypto';
import { InvalidManifestError } from '../errors/cache-error.ts';
import { type Digest, DIGEST_FORM, isDigest } from './digest.ts';
import { OCTET_STREAM } from './media-type.ts';
import type { Platform } from './platform.ts';

/** Points at content: https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. Claimed by the parent document, so checked on every read. */
  readonly size: number;
}

/** An entry of an index. */
export interface IndexEntry extends Descriptor {
  readonly platform?: Platform;
  /** The manifest that this attestation belongs to (`vnd.docker.reference.digest`). */
  readonly attests?: Digest;
  /** Why it cannot be pulled: a broken descriptor, or schema 1. Its digest may then be made up by us. */
  readonly fault?: string;
}

/**
 * The content embedded in a descriptor (`data`, base64). Undefined if it does not have the descriptor's digest and size.
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
 * The JSON in `bytes`. Bytes that are not UTF-8 are read as Latin-1: a wrong byte in an annotation does no harm here.
 * A byte order mark is ignored (RFC 8259, section 8.1), although clients in Go refuse one.
 *
 * @throws SyntaxError if it is not JSON.
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

export type JsonObject = Readonly<Record<string, unknown>>;
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The field `mediaType`. Empty and null count as absent. */
export const mediaTypeIn = ({ mediaType }: JsonObject): unknown =>
  mediaType === '' || mediaType === null ? undefined : mediaType;

/** Two names of at most 127 characters (https://www.rfc-editor.org/rfc/rfc6838#section-4.2). Rows store them. */
const MAX_MEDIA_TYPE_CHARACTERS = 255;

/** The descriptor in `json`, which is at `at` in its document. @throws InvalidManifestError */
export function parseDescriptor(json: unknown, at: string): Descriptor {
  if (!isObject(json)) throw new InvalidManifestError(`"${at}" is not a descriptor`);
  const { digest, size } = json;
  const mediaType = mediaTypeIn(json);
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw new InvalidManifestError(`"${at}.digest" is ${shownValue(digest)}, must be ${DIGEST_FORM}`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new InvalidManifestError(`"${at}.size" is ${shownValue(size)}, must be a whole number of bytes`);
  }
  if (mediaType !== undefined && (typeof mediaType !== 'string' || mediaType.length > MAX_MEDIA_TYPE_CHARACTERS)) {
    throw new InvalidManifestError(
      `"${at}.mediaType" is not a string of at most ${MAX_MEDIA_TYPE_CHARACTERS} characters`,
    );
  }
  return { mediaType: mediaType ?? OCTET_STREAM, digest, size };
}

/** A value for messages. Lists and objects only by name: deep nesting would overflow JSON.stringify. */
export function shownValue(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return JSON.stringify(value).slice(0, 200);
}
