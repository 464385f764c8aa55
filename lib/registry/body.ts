import type { Dispatcher } from 'undici';
import { LEAST_BYTES_PER_SECOND } from './pace.ts';

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
