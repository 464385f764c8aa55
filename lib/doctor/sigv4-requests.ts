import { S3Client } from '@aws-sdk/client-s3';
import { SignatureV4 } from '@smithy/signature-v4';
import { createHash, createHmac } from 'node:crypto';
import { ConfigError } from '../errors/cache-error.ts';
import { answerBytes } from './exact-http.ts';

export interface HttpCall {
  readonly method: string;
  readonly url: URL;
  /** By lower-case name. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly durationMs: number;
}

/** Requests by HTTP, signed with the credentials that the AWS SDK finds. */
export interface Requests {
  /** Not signed at all. */
  plain(call: HttpCall, signal: AbortSignal): Promise<HttpAnswer>;
  /** Signed with SigV4 for `service`. */
  signed(service: string, call: HttpCall, signal: AbortSignal): Promise<HttpAnswer>;
}

/** The region that the SDK's own variables or profile name. @throws ConfigError */
export async function sdkRegion(): Promise<string> {
  const client = new S3Client();
  try {
    return await client.config.region();
  } catch (cause) {
    throw new ConfigError(
      'no AWS region is known; set AWS_REGION, or AWS_PROFILE to a profile that has a region',
      cause,
    );
  } finally {
    client.destroy();
  }
}

/** Requests to services in `region`. Sends nothing yet. */
export function requestsIn(region: string): Requests {
  // Any client finds credentials the same way.
  const { credentials } = new S3Client({ region }).config;
  return {
    plain: (call, signal) => send(call, call.headers ?? {}, signal),
    async signed(service, call, signal) {
      const { method, url, headers = {}, body } = call;
      const signer = new SignatureV4({ service, region, credentials, sha256: Sha256 });
      const signed = await signer.sign({
        method,
        protocol: url.protocol,
        hostname: url.hostname,
        path: url.pathname,
        query: queryOf(url),
        headers: { ...headers, host: url.host },
        ...(body === undefined ? {} : { body }),
      });
      const { host: _host, ...sent } = signed.headers;
      return await send(call, sent, signal);
    },
  };
}

function queryOf(url: URL): Record<string, string[]> {
  const query: Record<string, string[]> = {};
  for (const [name, value] of url.searchParams) (query[name] ??= []).push(value);
  return query;
}

async function send(
  { method, url, body }: HttpCall,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const startedMs = performance.now();
  // A redirect would carry the signature, or the token, elsewhere.
  const response = await fetch(url, {
    method,
    headers,
    redirect: 'manual',
    signal,
    ...(body === undefined ? {} : { body }),
  });
  const text = await textOf(response);
  return { status: response.status, headers: response.headers, text, durationMs: performance.now() - startedMs };
}

const textOf = async ({ body }: Response): Promise<string> =>
  body === null ? '' : (await answerBytes(body as ReadableStream<Uint8Array>)).toString('utf8');

type Hash = ReturnType<typeof createHash> | ReturnType<typeof createHmac>;

/** SHA-256 and its HMAC as the signer wants them. */
class Sha256 {
  readonly #secret: string | Uint8Array | undefined;
  #hash: Hash;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#secret = secret === undefined ? undefined : bytesOf(secret);
    this.#hash = this.#begun();
  }

  update(bytes: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(bytesOf(bytes));
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(this.#hash.digest());
  }

  reset(): void {
    this.#hash = this.#begun();
  }

  #begun(): Hash {
    return this.#secret === undefined ? createHash('sha256') : createHmac('sha256', this.#secret);
  }
}

function bytesOf(value: string | ArrayBuffer | ArrayBufferView): string | Uint8Array {
  if (typeof value === 'string') return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
