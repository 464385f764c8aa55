import { once } from 'node:events';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { CacheError } from '../errors/cache-error.ts';
import { ContradictionError } from './check.ts';

/** Enough for every answer: manifests have at most 4 MiB by default. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** The whole body. @throws CacheError if it is longer than {@link MAX_ANSWER_BYTES}. */
export async function answerBytes(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new CacheError(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`, {
        op: 'read answer',
        origin: 'upstream',
        retryable: false,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export interface ExactCall {
  readonly method?: string;
  /** With query, exactly as it is sent: dots and escapes are kept. */
  readonly path: string;
  /** A list is sent as several header lines. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/** An answer, unchanged. */
export interface ExactAnswer {
  readonly status: number;
  /** By lower-case name, each header line. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly bytes: Buffer;
  readonly durationMs: number;
}

/** The header, if it is there exactly once. */
export function exactHeader({ headers }: ExactAnswer, name: string): string | undefined {
  const lines = headers[name] ?? [];
  return lines.length === 1 ? lines[0] : undefined;
}

/**
 * One request over its own connection, and the unchanged answer. Unlike `fetch`, it does not normalise the path, follow redirects or decode the body.
 *
 * @throws ContradictionError if bytes follow an answer, for example of HEAD; CacheError if it is too long; the error of the connection.
 */
export async function askExactly(
  origin: URL,
  { method = 'GET', path, headers = {} }: ExactCall,
  signal: AbortSignal,
): Promise<ExactAnswer> {
  const startedMs = performance.now();
  const send = origin.protocol === 'https:' ? requestHttps : requestHttp;
  const request = send(origin, { method, path, headers: { ...LENGTH_OF[method], ...headers }, agent: false, signal });
  let isAnswered = false as boolean;
  const answered = async (): Promise<ExactAnswer> => {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    isAnswered = true;
    const bytes = await answerBytes(response as AsyncIterable<Uint8Array>);
    const { statusCode: status = 0, headersDistinct } = response;
    return { status, headers: plain(headersDistinct), bytes, durationMs: performance.now() - startedMs };
  };
  request.end();
  try {
    // Bytes after the answer are found when the connection closes, which is at once.
    const [answer] = await Promise.all([answered(), once(request, 'close')]);
    return answer;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!isAnswered || code?.startsWith('HPE_') !== true) throw error;
    throw new ContradictionError(`the answer to ${method} is not valid HTTP: ${code}`);
  }
}

/** Without it Node would send a chunked body. */
const LENGTH_OF: Readonly<Record<string, { readonly 'content-length': string }>> = Object.fromEntries(
  ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) => [method, { 'content-length': '0' }]),
);

const plain = (headers: NodeJS.Dict<string[]>): Record<string, readonly string[]> =>
  Object.fromEntries(Object.entries(headers).map(([name, lines = []]) => [name, lines]));
