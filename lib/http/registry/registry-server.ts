import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { sendAnswer } from '../send-answer.ts';
import type { RegistryAnswer, RegistryRequest } from './open-registry.ts';

/** Of one request; names and tokens are far shorter. */
const MAX_HEADER_BYTES = 32 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;

/**
 * An HTTP server on loopback for the distribution API. On HEAD it drops the body of the answer, and declares its length. It reads no body of a request, because
 * the pull API has none; where one is still coming when the answer is ready, the connection is closed.
 *
 * @param answer must not throw; its signal fires when the client has left.
 */
export function registryServer(
  answer: (request: RegistryRequest, left: AbortSignal) => Promise<RegistryAnswer>,
): Server {
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    keepAliveTimeout: 30_000,
  });
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const left = new AbortController();
    // Not a DeadlineError: a client that leaves does not mean that the registry is slow, and must not open its circuit.
    outgoing.on('close', () => left.abort(new Error('the client has left')));
    answer(requestOf(incoming), left.signal)
      .then((answered) => send(incoming, outgoing, answered))
      .catch(() => outgoing.destroy());
  };
  // A client that asks before it sends its body (Expect: 100-continue) gets its answer instead of a 100.
  return server.on('request', listener).on('checkContinue', listener);
}

function requestOf({ method = '', url = '', headers, socket }: IncomingMessage): RegistryRequest {
  const mark = url.indexOf('?');
  return {
    method,
    address: socket.remoteAddress,
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? '' : url.slice(mark + 1),
    header(name) {
      const value = headers[name.toLowerCase()];
      return typeof value === 'string' ? value : undefined;
    },
  };
}

function send(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, headers, body }: RegistryAnswer,
): Promise<void> {
  const length = headers['content-length'] ?? (status === 304 ? undefined : String(body?.byteLength ?? 0));
  return sendAnswer(incoming, outgoing, {
    status,
    headers: { ...headers, ...(length === undefined ? {} : { 'content-length': length }) },
    ...(incoming.method === 'HEAD' || status === 304 || body === undefined ? {} : { body }),
  });
}
