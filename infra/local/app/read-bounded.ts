import type { IncomingMessage } from 'node:http';

/** A body above its limit. The rest of it is discarded until the answer is sent, which ends the connection: lib/http/send-answer.ts. */
export class TooLongError extends Error {
  constructor(maxBytes: number) {
    super(`the body is longer than ${maxBytes} bytes`);
    this.name = 'TooLongError';
  }
}

/**
 * The whole body, of at most `maxBytes`.
 *
 * @throws TooLongError; the error of the connection.
 */
export async function readBounded(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) break;
    chunks.push(chunk);
  }
  if (bytes <= maxBytes) return Buffer.concat(chunks);
  request.resume();
  throw new TooLongError(maxBytes);
}
