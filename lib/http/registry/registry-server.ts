import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { RegistryAnswer, RegistryRequest } from './registry-door.ts';

/** Of one request: names and tokens are far shorter. */
const MAX_HEADER_BYTES = 32 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;

/**
 * An HTTP server on loopback for the distribution API. On HEAD the body is dropped here, with its length told.
 *
 * @param answer must not throw; its signal fires when the client has left.
 */
export function registryServer(
  answer: (request: RegistryRequest, left: AbortSignal) => Promise<RegistryAnswer>,
): Server {
  return createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: HEADERS_TIMEOUT_MS, keepAliveTimeout: 30_000 },
    (incoming, outgoing) => {
      // No request of the pull API has a body worth reading.
      incoming.resume();
      const left = new AbortController();
      // No DeadlineError: that the client did not wait does not say that a registry is slow, and it must not rest for it.
      outgoing.on('close', () => left.abort(new Error('the client has left')));
      answer(requestOf(incoming), left.signal).then(
        (answered) => send(incoming, outgoing, answered),
        () => outgoing.destroy(),
      );
    },
  );
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

function send({ method }: IncomingMessage, outgoing: ServerResponse, { status, headers, body }: RegistryAnswer): void {
  if (outgoing.destroyed) return;
  const length = headers['content-length'] ?? (status === 304 ? undefined : String(body?.byteLength ?? 0));
  outgoing.writeHead(status, { ...headers, ...(length === undefined ? {} : { 'content-length': length }) });
  if (method === 'HEAD' || body === undefined || status === 304) outgoing.end();
  else outgoing.end(body);
}
