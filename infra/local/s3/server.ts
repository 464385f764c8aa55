import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Database } from './database.ts';
import { recordDeletion } from './deletions.ts';
import { isDiskFull, S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { Files, syncFolder } from './files.ts';
import { ObjectRows } from './object-rows.ts';
import { route } from './routes.ts';
import type { Account } from './signature.ts';
import { authenticate } from './signature.ts';
import { parseTarget } from './target.ts';
import { UploadRows } from './upload-rows.ts';
import { sweep } from './whole-object.ts';
import { leaf } from './xml.ts';
import { closeServer } from '../processes.ts';

/** The folder, address and account of an endpoint. */
export interface S3Options {
  /** A folder of its own; created if missing. */
  readonly root: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Default us-east-1. */
  readonly region?: string;
}

/** A listening endpoint. */
export interface S3Endpoint {
  /** `http://host:port`; path-style addressing only. */
  readonly endpoint: string;
  readonly port: number;
  /** Ends every request and connection, and releases the folder. */
  close(): Promise<void>;
}

/** Longer than any SDK keeps idle connections, so that none is closed under a new request. */
const KEEP_ALIVE_MS = 60_000;
/** An idle connection is dropped after this. */
const STALL_MS = 120_000;

/**
 * Listens, with all acknowledged objects and open uploads of before: they survive SIGKILL and a power cut at any moment. Objects whose files
 * were damaged are removed.
 *
 * @throws if the folder belongs to another running endpoint, or the port is taken.
 */
export async function startS3(options: S3Options): Promise<S3Endpoint> {
  const { root, host = '127.0.0.1', port = 0, accessKeyId, secretAccessKey, region = 'us-east-1' } = options;
  const store = await openStore(root, { accessKeyId, secretAccessKey, region });
  const running = new Set<Promise<void>>();
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS }, (incoming, outgoing) => {
    const exchange = answer(store, incoming, outgoing).finally(() => running.delete(exchange));
    running.add(exchange);
  });
  server.timeout = STALL_MS;
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    store.database[Symbol.dispose]();
    throw error;
  }
  const address = server.address() as AddressInfo;
  return {
    endpoint: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    close: async () => {
      await closeServer(server);
      await Promise.all(running);
      store.database[Symbol.dispose]();
    },
  };
}

async function openStore(root: string, account: Account): Promise<Store> {
  await mkdir(root, { recursive: true });
  const database = new Database(join(root, 's3.sqlite'));
  try {
    const files = await Files.open(join(root, 'files'));
    await syncFolder(root);
    const rows = { objects: new ObjectRows(database), uploads: new UploadRows(database) };
    const deleted = (bucket: string, key: string): void => recordDeletion(root, bucket, key);
    const store = { database, files, account, ...rows, deleted };
    await sweep(store);
    return store;
  } catch (error) {
    database[Symbol.dispose]();
    throw error;
  }
}

/** Never rejects: an error becomes an answer, or a dropped connection if the answer has begun, and a line on stderr. */
async function answer(store: Store, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const requestId = randomBytes(8).toString('hex').toUpperCase();
  let reply: Reply | undefined;
  try {
    reply = await replyTo(store, incoming, requestId);
    await send(reply, outgoing, requestId);
    // The rest of a refused body is discarded, so that the client can read the error.
    incoming.resume();
  } catch (error) {
    // A client that disconnected is not an error of this endpoint.
    if (!incoming.socket.destroyed) reportFault(incoming, requestId, error);
    outgoing.destroy();
  }
  try {
    await reply?.release?.();
  } catch (error) {
    reportFault(incoming, requestId, error);
  }
}

async function replyTo(store: Store, incoming: IncomingMessage, requestId: string): Promise<Reply> {
  try {
    return await route(store, authenticatedRequest(store, incoming));
  } catch (error) {
    if (error instanceof S3Error) return errorReply(error, incoming, requestId);
    if (incoming.socket.destroyed) throw error;
    reportFault(incoming, requestId, error);
    if (isDiskFull(error)) {
      return errorReply(new S3Error('InsufficientStorage', 'The disk is full.'), incoming, requestId);
    }
    const internal = new S3Error('InternalError', 'We encountered an internal error. Please try again.');
    return errorReply(internal, incoming, requestId);
  }
}

function authenticatedRequest(store: Store, incoming: IncomingMessage): S3Request {
  const target = parseTarget(incoming.url ?? '');
  const headers = new Map(
    Object.entries(incoming.headersDistinct).map(([name, values]) => [name, (values ?? []).join(',')]),
  );
  const payload = authenticate({ method: incoming.method ?? '', target, headers }, store.account, Date.now());
  const query = new Map(target.query);
  if (query.has('X-Amz-Signature')) {
    for (const [name, value] of query) {
      const header = name.toLowerCase();
      if (/^x-amz-(sdk-checksum-|checksum-(?!mode$|type$|algorithm$))/.test(header)) throw noChecksum(name);
      if (header.startsWith('x-amz-') && !PRESIGN_PARAMETERS.has(header) && !headers.has(header)) {
        headers.set(header, value);
      }
    }
  }
  return { incoming, payload, bucket: target.bucket ?? '', key: target.key ?? '', query, headers };
}

/** S3 does not compare them, see https://github.com/aws/aws-sdk-go-v2/issues/2610. */
const noChecksum = (name: string): S3Error =>
  new S3Error('InvalidRequest', `A presigned request takes no checksum in its query (${name}): sign it as a header`);

const PRESIGN_PARAMETERS = new Set(
  ['algorithm', 'credential', 'date', 'expires', 'signedheaders', 'signature'].map((name) => `x-amz-${name}`),
);

async function send(reply: Reply, outgoing: ServerResponse, requestId: string): Promise<void> {
  const { status, headers = {}, xml, content } = reply;
  outgoing.writeHead(status, {
    'x-amz-request-id': requestId,
    server: 'entrepot-local-s3',
    ...(xml === undefined ? {} : { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(xml) }),
    ...(xml === undefined && content === undefined && status === 200 ? { 'content-length': 0 } : {}),
    ...headers,
  });
  if (content === undefined) outgoing.end(xml);
  else await pipeline(Readable.from(content, { objectMode: false, highWaterMark: 1024 * 1024 }), outgoing);
}

function errorReply(error: S3Error, incoming: IncomingMessage, requestId: string): Reply {
  const { status, code, message, details, headers } = error;
  // HEAD has no body: its error is the status alone, as on S3.
  if (incoming.method === 'HEAD') return { status, headers };
  const elements = [
    leaf('Code', code),
    leaf('Message', message),
    ...Object.entries(details).map(([name, value]) => leaf(name, value)),
    leaf('Resource', incoming.url?.split('?')[0]),
    leaf('RequestId', requestId),
  ];
  return { status, headers, xml: `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${elements.join('')}</Error>` };
}

function reportFault(incoming: IncomingMessage, requestId: string, error: unknown): void {
  const path = incoming.url?.split('?')[0] ?? '';
  const fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${JSON.stringify({ requestId, method: incoming.method, path, fault })}\n`);
}
