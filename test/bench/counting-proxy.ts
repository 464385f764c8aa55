import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';

/** Requests of one kind, and the bytes of their bodies. */
export interface Traffic {
  requests: number;
  bytesUp: number;
  bytesDown: number;
}

export interface CountingProxy extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, in place of the target's origin. */
  readonly origin: string;
  /** By kind. Cleared by `take`. */
  take(): ReadonlyMap<string, Traffic>;
}

/** A loopback proxy in front of `target` that counts and changes nothing. */
export async function startCountingProxy(
  target: string,
  kindOf: (request: IncomingMessage) => string,
): Promise<CountingProxy> {
  const agent = new Agent({ keepAlive: true });
  let counted = new Map<string, Traffic>();
  const server = createServer((request, response) => {
    const kind = kindOf(request);
    const traffic = counted.get(kind) ?? { requests: 0, bytesUp: 0, bytesDown: 0 };
    counted.set(kind, traffic);
    traffic.requests += 1;
    request.on('data', (chunk: Buffer) => (traffic.bytesUp += chunk.byteLength));
    const { method, headers } = request;
    // `Host` stays as it was signed.
    const onward = httpRequest(new URL(request.url ?? '/', target), { agent, ...(method && { method }), headers });
    onward.once('error', () => response.destroy());
    onward.once('response', (answer) => {
      answer.on('data', (chunk: Buffer) => (traffic.bytesDown += chunk.byteLength));
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      pipeline(answer, response).catch(() => response.destroy());
    });
    pipeline(request, onward).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const taken = counted;
      counted = new Map();
      return taken;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

/** `PutItem`, … */
export const dynamoKind = ({ headers }: IncomingMessage): string =>
  String(headers['x-amz-target'] ?? 'other').replace(/^.*\./, '');

/** `HEAD manifests`, `GET blobs`, … */
export function registryKind({ method, url = '' }: IncomingMessage): string {
  const kind = /\/(manifests|blobs)\/[^/]+$/.exec(url)?.[1] ?? (url === '/v2/' ? 'ping' : 'other');
  return `${method} ${kind}`;
}

/** `PutObject refs`, `UploadPart blobs`, … */
export function s3Kind({ method = '', url = '' }: IncomingMessage): string {
  const { pathname, searchParams } = new URL(url, 'http://s3.invalid');
  const folder = pathname.split('/')[2] ?? '';
  const operations: Record<string, string> = {
    GET: 'GetObject',
    HEAD: 'HeadObject',
    PUT: 'PutObject',
    DELETE: 'DeleteObject',
  };
  const multipart: Record<string, string> = {
    PUT: 'UploadPart',
    POST: 'CompleteMultipartUpload',
    DELETE: 'AbortMultipartUpload',
  };
  if (searchParams.has('uploads')) return `CreateMultipartUpload ${folder}`;
  return `${(searchParams.has('uploadId') ? multipart : operations)[method] ?? method} ${folder}`;
}
