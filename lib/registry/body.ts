import type { Dispatcher } from 'undici';

export type Body = Dispatcher.ResponseData['body'];

/** Small enough to be worth reading to its end, so that the connection can be used again. */
const DISCARD_BYTES = 64 * 1024;
const DISCARD_TIMEOUT_MS = 5_000;

/** The first `maxBytes` of the body at most, and whether there were more. What is beyond is not read: the connection is dropped then. */
export async function readBounded(body: Body, maxBytes: number): Promise<{ bytes: Buffer; truncated: boolean }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop early destroys the body.
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes > maxBytes) return { bytes: Buffer.concat(chunks).subarray(0, maxBytes), truncated: true };
  }
  return { bytes: Buffer.concat(chunks), truncated: false };
}

/** Done with an answer whose body does not matter. Never throws: what breaks in it matters no more than it does. */
export async function discard(body: Body): Promise<void> {
  const timer = setTimeout(() => body.destroy(), DISCARD_TIMEOUT_MS);
  await readBounded(body, DISCARD_BYTES).catch(() => undefined);
  clearTimeout(timer);
}
