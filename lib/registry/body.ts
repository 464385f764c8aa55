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

/** Small enough to be worth reading to its end, so that the connection can be used again. */
const DISCARD_BYTES = 64 * 1024;
const DISCARD_TIMEOUT_MS = 1_000;

/** A body that took longer than it may, although bytes kept coming. */
export class SlowBodyError extends Error {
  constructor(bytes: number, timeMs: number) {
    super(`${bytes} bytes in ${Math.round(timeMs)} ms are too slow`);
    this.name = 'SlowBodyError';
  }
}

/**
 * The first `maxBytes` of the body at most, and whether there were more. What is beyond is not read: the connection is dropped then.
 *
 * Bounded in time as a whole, too: it may take `timeMs`, and as long as its bytes take at {@link LEAST_BYTES_PER_SECOND}.
 *
 * @throws SlowBodyError where it takes longer.
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

/** Done with an answer whose body does not matter. Never throws: what breaks in it matters no more than it does. */
export async function discard(body: Body): Promise<void> {
  await readBounded(body, DISCARD_BYTES, DISCARD_TIMEOUT_MS).catch(() => undefined);
}

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
