import type { IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';

/** What is still taken of a request after its answer: a client that reads only when it has sent gets its answer before the connection closes. */
const LINGER_MS = 1_000;
const LINGER_BYTES = 1024 * 1024;

/**
 * Sends an answer, and waits for no body of its request: where one is still coming, the answer has `connection: close`, what comes within {@link LINGER_MS} and
 * {@link LINGER_BYTES} is dropped, and the connection is closed. Closing it at once could take the answer back: a client that still sends gets a reset.
 *
 * @param headers joined with those that are set already.
 */
export async function sendAnswer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, headers, body }: { status: number; headers: Readonly<Record<string, string>>; body?: Uint8Array },
): Promise<void> {
  // A short body is in the packet of the headers, and parsed after them: one turn later it is there.
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

/** A request without a body counts as read: node calls even that complete only after its listeners ran. */
const isUnread = ({ complete, headers }: IncomingMessage): boolean =>
  !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);
