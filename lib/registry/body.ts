import type { Transform } from 'node:stream';
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
import type { Dispatcher } from 'undici';
import { LEAST_BYTES_PER_SECOND } from './settings.ts';

export type Body = Dispatcher.ResponseData['body'];

/** A body up to this size is read to its end, so that the connection can be reused. */
const DISCARD_BYTES = 64 * 1024;
const DISCARD_TIMEOUT_MS = 1_000;

/** A body took too long although bytes kept arriving. */
export class SlowBodyError extends Error {
  constructor(bytes: number, timeMs: number) {
    super(`${bytes} bytes in ${Math.round(timeMs)} ms are too slow`);
    this.name = 'SlowBodyError';
  }
}

/**
 * At most the first `maxBytes` of the body, and whether there were more. The rest is not read and the connection is dropped.
 *
 * The whole read may take `timeMs`, plus the time of its bytes at {@link LEAST_BYTES_PER_SECOND}.
 *
 * @throws SlowBodyError if it takes longer.
 */
export async function readBounded(
  body: Body,
  maxBytes: number,
  timeMs: number,
): Promise<{ bytes: Buffer; truncated: boolean }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const startedMs = performance.now();
  const endIfLate = (): void => {
    const tookMs = performance.now() - startedMs;
    const leftMs = timeMs + (bytes / LEAST_BYTES_PER_SECOND) * 1000 - tookMs;
    if (leftMs > 0) timer = setTimeout(endIfLate, leftMs);
    else body.destroy(new SlowBodyError(bytes, tookMs));
  };
  let timer = setTimeout(endIfLate, timeMs);
  try {
    // Leaving the loop early destroys the body.
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      bytes += chunk.byteLength;
      if (bytes > maxBytes) return { bytes: Buffer.concat(chunks).subarray(0, maxBytes), truncated: true };
    }
    return { bytes: Buffer.concat(chunks), truncated: false };
  } finally {
    clearTimeout(timer);
  }
}

/** Drops a body that is not needed. Never throws. */
export async function discard(body: Body): Promise<void> {
  await readBounded(body, DISCARD_BYTES, DISCARD_TIMEOUT_MS).catch(() => undefined);
}

/*
 * We request `identity`, because digests are those of the stored bytes. Some servers compress anyway, and some storage
 * labels objects with a Content-Encoding that they do not have (RFC 9110, section 8.4).
 */

const CODINGS = {
  gzip: { decode: promisify(gunzip), stream: createGunzip },
  deflate: { decode: promisify(inflate), stream: createInflate },
  br: { decode: promisify(brotliDecompress), stream: createBrotliDecompress },
  zstd: { decode: promisify(zstdDecompress), stream: createZstdDecompress },
} as const;

/** The compression that the header names (`aws-chunked, gzip` is gzip). Undefined for none, or for several. */
function codingOf(encoding: string | undefined): keyof typeof CODINGS | undefined {
  const names = (encoding ?? '').split(',').map((name) => name.trim().toLowerCase().replace(/^x-/, ''));
  const [coding, ...more] = names.filter((name) => Object.hasOwn(CODINGS, name));
  return more.length === 0 ? (coding as keyof typeof CODINGS | undefined) : undefined;
}

/** Whether the header names a compression. Anything else (`utf-8`, `aws-chunked`) does not change the bytes. */
export const isCoded = (encoding: string | undefined): encoding is string => codingOf(encoding) !== undefined;

/** The decompressed bytes; undefined if they cannot be decompressed, or exceed `maxBytes`. */
export async function decoded(bytes: Buffer, encoding: string, maxBytes: number): Promise<Buffer | undefined> {
  const coding = codingOf(encoding);
  if (coding === undefined) return undefined;
  try {
    return await CODINGS[coding].decode(bytes, { maxOutputLength: maxBytes });
  } catch {
    return undefined;
  }
}

/** A stream that decompresses. */
export function decoderOf(encoding: string): Transform | undefined {
  const coding = codingOf(encoding);
  return coding === undefined ? undefined : CODINGS[coding].stream();
}
