import type { IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';

/** How much of a request is still read after its answer: a client that reads only after it has sent gets the answer before the connection closes. */
const LINGER_MS = 1_000;
const LINGER_BYTES = 1024 * 1024;

/**
 * Sends an answer without waiting for the body of its request. If a body is still coming, the answer has `connection: close`, up to {@link LINGER_BYTES} within
 * {@link LINGER_MS} are read and dropped, and the connection is closed. Closed at once, a client that still sends gets a reset instead of the answer.
 *
 * @param headers added to those that are set already.
 */
export async function sendAnswer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, headers, body }: { status: number; headers: Readonly<Record<string, string>>; body?: Uint8Array },
): Promise<void> {
  // A short body comes in the packet of the headers, and is parsed after them: it is there after one turn of the event loop.
  if (isUnread(incoming)) await setImmediate();
  if (outgoing.destroyed) return;
  if (!isUnread(incoming)) {
    outgoing.writeHead(status, headers).end(body);
    return;
  }
  outgoing.writeHead(status, { ...headers, connection: 'close' });
  if (body === undefined) outgoing.flushHeaders();
  else outgoing.write(body);
  const timer = setTimeout(end, LINGER_MS);
  let bytes = 0;
  incoming.on('data', ({ byteLength }: Buffer) => {
    bytes += byteLength;
    if (bytes > LINGER_BYTES) end();
  });
  incoming.once('end', end);
  incoming.once('close', end);
  function end(): void {
    clearTimeout(timer);
    incoming.pause();
    if (!outgoing.writableEnded) outgoing.end();
  }
}

/** A request without a body counts as read: Node marks even that complete only after its listeners ran. */
const isUnread = ({ complete, headers }: IncomingMessage): boolean =>
  !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);
