import { promisify } from 'node:util';
import {
  brotliDecompress,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
  gunzip,
  inflate,
  zstdDecompress,
} from 'node:zlib';
import type { Transform } from 'node:stream';

/*
 * We ask for `identity`: digests are those of the bytes as they are stored. Some servers answer otherwise all the same, and some storage labels objects with a
 * Content-Encoding that is none (RFC 9110, section 8.4).
 */

const CODINGS = {
  gzip: { decode: promisify(gunzip), stream: createGunzip },
  deflate: { decode: promisify(inflate), stream: createInflate },
  br: { decode: promisify(brotliDecompress), stream: createBrotliDecompress },
  zstd: { decode: promisify(zstdDecompress), stream: createZstdDecompress },
} as const;

/** The coding, where the header names one; what else it names are labels (`aws-chunked, gzip` is gzip). Two on top of each other are nobody's. */
function codingOf(encoding: string | undefined): keyof typeof CODINGS | undefined {
  const names = (encoding ?? '').split(',').map((name) => name.trim().toLowerCase().replace(/^x-/, ''));
  const [coding, ...more] = names.filter((name) => Object.hasOwn(CODINGS, name));
  return more.length === 0 ? (coding as keyof typeof CODINGS | undefined) : undefined;
}

/** Whether the header names a compression; anything else (`utf-8`, `aws-chunked`, nothing at all) is a label without meaning for the bytes. */
export const isCoded = (encoding: string | undefined): encoding is string => codingOf(encoding) !== undefined;

/** The bytes without their coding; undefined where they are not of it, or more than `maxBytes`. */
export async function decoded(bytes: Buffer, encoding: string, maxBytes: number): Promise<Buffer | undefined> {
  const coding = codingOf(encoding);
  if (coding === undefined) return undefined;
  try {
    return await CODINGS[coding].decode(bytes, { maxOutputLength: maxBytes });
  } catch {
    return undefined;
  }
}

/** Takes the coding off a stream. */
export function decoderOf(encoding: string): Transform | undefined {
  const coding = codingOf(encoding);
  return coding === undefined ? undefined : CODINGS[coding].stream();
}
