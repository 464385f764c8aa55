import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { S3Client } from '@aws-sdk/client-s3';

/** A listening S3 server, and the keys of an account that may do everything there. */
export interface S3Server {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  close(): Promise<void>;
}

/** What the suite runs on. */
export interface S3UnderTest {
  /** Starts the server on the state of the one before, which {@link kill} ended. */
  start(): Promise<S3Server>;
  /** SIGKILLs the server. */
  kill(): Promise<void>;
  /** Cases in which this server is known to differ from AWS, with what it does: they must fail, so that the list stays true. */
  readonly differences: Readonly<Record<string, string>>;
}

/** What every case gets. The server may be another process after each {@link S3Bench.restart}. */
export interface S3Bench {
  readonly server: S3Server;
  readonly s3: S3Client;
  readonly bucket: string;
  /** SIGKILL and start on the same state. */
  restart(): Promise<void>;
}

/** Registers a case; one among the differences must fail. */
export type Case = (name: string, run: () => Promise<void>) => void;

/** How cases are registered for a server with these differences. */
export function caseOf(differences: Readonly<Record<string, string>>): Case {
  return (name, run) => {
    const difference = differences[name];
    if (difference === undefined) test(name, run);
    else
      test(`${name} [differs: ${difference}]`, () =>
        assert.rejects(run, 'the difference is gone: remove it from the list'));
  };
}

/** A client that signs for the server and never retries. */
export function clientOf(server: S3Server, keys?: { accessKeyId: string; secretAccessKey: string }): S3Client {
  const { endpoint, region, accessKeyId, secretAccessKey } = { ...server, ...keys };
  const credentials = { accessKeyId, secretAccessKey };
  return new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1 });
}

/** Passes if the server refuses with one of S3's error codes. */
export async function refused(attempt: Promise<unknown>, ...codes: string[]): Promise<void> {
  await assert.rejects(attempt, (error: Error) => {
    assert.ok(codes.includes(error.name), `expected ${codes.join(' or ')}, found ${error.name}: ${error.message}`);
    return true;
  });
}

/** Passes if the raw answer has the status and error code. */
export async function refusedRaw(response: Response, status: number, code: string): Promise<void> {
  const body = await response.text();
  assert.equal(`${response.status} ${/<Code>(.*?)<\/Code>/.exec(body)?.[1] ?? body}`, `${status} ${code}`);
}

/** A key nobody else uses. */
export function freshKey(name = 'object'): string {
  return `${name}-${randomBytes(6).toString('hex')}`;
}

export function sha256(bytes: Uint8Array | string): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Base64, big-endian: S3's spelling. */
export function crc32Base64(bytes: Uint8Array): string {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(crc32(bytes));
  return value.toString('base64');
}

/** Deterministic bytes without repetition. */
export function noise(seed: string, size: number): Buffer {
  const blocks: Buffer[] = [];
  const block = createHash('shake256', { outputLength: Math.min(size, 65536) })
    .update(seed)
    .digest();
  for (let at = 0; at < size; at += block.length) {
    const copy = Buffer.from(block.subarray(0, Math.min(block.length, size - at)));
    if (copy.length >= 8) copy.writeDoubleBE(at, 0);
    blocks.push(copy);
  }
  return Buffer.concat(blocks, size);
}

export interface RawRequest {
  readonly method: string;
  /** Already percent-encoded: `/bucket/key`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** The value of `x-amz-content-sha256`; default: the body's hash. */
  readonly payload?: string;
  readonly atMs?: number;
  readonly region?: string;
}

export interface Signed {
  readonly key: Buffer;
  /** `timestamp\nscope` */
  readonly context: string;
  readonly signature: string;
  readonly headers: Record<string, string>;
}

/** Signs by hand, so that a case can lie in any field. */
export function sign(server: S3Server, request: RawRequest): Signed {
  const timestamp = new Date(request.atMs ?? Date.now()).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const scope = `${timestamp.slice(0, 8)}/${request.region ?? server.region}/s3/aws4_request`;
  const payload = request.payload ?? sha256(request.body ?? '').toString('hex');
  const headers: Record<string, string> = {
    ...request.headers,
    host: new URL(server.endpoint).host,
    'x-amz-content-sha256': payload,
    'x-amz-date': timestamp,
  };
  const names = Object.keys(headers).sort();
  const lines = names.map((name) => `${name}:${headers[name] ?? ''}`);
  const canonical = [request.method, request.path, '', ...lines, '', names.join(';'), payload].join('\n');
  const context = `${timestamp}\n${scope}`;
  const key = scope.split('/').reduce<Buffer>(hmac, Buffer.from(`AWS4${server.secretAccessKey}`));
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${context}\n${sha256(canonical).toString('hex')}`).toString('hex');
  headers.authorization = `AWS4-HMAC-SHA256 Credential=${server.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return { key, context, signature, headers };
}

/** Sends what {@link sign} signed. */
export async function send(server: S3Server, request: RawRequest, signed = sign(server, request)): Promise<Response> {
  const { host: _, ...headers } = signed.headers;
  const body = request.body === undefined ? null : new Uint8Array(request.body);
  return await fetch(`${server.endpoint}${request.path}`, { method: request.method, headers, body });
}

export interface ChunkedBody {
  readonly chunks: readonly Buffer[];
  readonly trailer?: readonly [string, string];
  /** Signs the chunks; unsigned without. */
  readonly signed?: Signed;
}

/** `aws-chunked` framing, with its chain of signatures where asked for. */
export function chunkedBody({ chunks, trailer, signed }: ChunkedBody): Buffer {
  let previous = signed?.signature ?? '';
  const seal = (kind: string, ...hashes: string[]): string => {
    if (signed === undefined) return '';
    const text = [`AWS4-HMAC-SHA256-${kind}`, signed.context, previous, ...hashes].join('\n');
    previous = hmac(signed.key, text).toString('hex');
    return previous;
  };
  const pieces = [...chunks, Buffer.alloc(0)].flatMap((chunk) => {
    const signature = seal('PAYLOAD', sha256('').toString('hex'), sha256(chunk).toString('hex'));
    const head = chunk.length.toString(16) + (signature === '' ? '' : `;chunk-signature=${signature}`);
    return [Buffer.from(`${head}\r\n`), chunk, Buffer.from(chunk.length === 0 ? '' : '\r\n')];
  });
  if (trailer !== undefined) {
    pieces.push(Buffer.from(`${trailer.join(':')}\r\n`));
    const signature = seal('TRAILER', sha256(`${trailer.join(':')}\n`).toString('hex'));
    if (signature !== '') pieces.push(Buffer.from(`x-amz-trailer-signature:${signature}\r\n`));
  }
  return Buffer.concat([...pieces, Buffer.from('\r\n')]);
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
