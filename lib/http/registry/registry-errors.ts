import {
  BlobSizeError,
  BlobUnknownError,
  CacheError,
  ContentMismatchError,
  type ErrorCode,
} from '../../errors/cache-error.ts';
import { HttpError, retryAfterSecondsOf, httpStatusOf } from '../problem.ts';
import type { RegistryAnswer } from './open-registry.ts';

/** Clients show the message to people: it is short, and reveals nothing of the configuration. */
const MAX_MESSAGE_CHARACTERS = 1_000;
const MAX_PATH_CHARACTERS = 100;

/**
 * An error in the form of the distribution specification:
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
export function registryError(error: unknown, challenge: string | undefined): RegistryAnswer {
  const status = httpStatusOf(error);
  const known = status !== 500 && error instanceof CacheError ? error : undefined;
  const retryAfter = retryAfterSecondsOf(status, known?.retryAfterMs);
  return errorAnswer(
    status,
    known?.code,
    known === undefined ? 'an internal error, see the log of the cache' : messageOf(known, status),
    {
      ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      ...(status === 401 && challenge !== undefined ? { 'www-authenticate': challenge } : {}),
      ...(error instanceof HttpError ? error.headers : {}),
    },
  );
}

/** Upstream errors name hosts and paths of the configuration: clients get a general message, the log has the details. */
function messageOf(error: CacheError, status: number): string {
  const { origin, code, message } = error;
  // A BlobUnknownError has a message for clients.
  if (origin !== 'upstream' || error instanceof BlobUnknownError) return message;
  switch (code) {
    case 'MANIFEST_UNKNOWN':
      return 'its registry has no such manifest, or platform';
    case 'DENIED':
      return 'its registry does not let the cache read it, or has none of that name';
    case 'TOOMANYREQUESTS':
      return 'its registry limits the requests of the cache';
    case 'BLOB_UNKNOWN':
      return 'its registry has no such blob';
    case 'MANIFEST_INVALID':
      return 'the cache cannot take the manifest of its registry: of schema 1, broken, too large, or of a type it does not know; the log of the cache says which';
    default:
  }
  if (error instanceof BlobSizeError) {
    return 'the blob is larger than the cache may take, or its registry does not say how large it is; the log of the cache says which';
  }
  if (status === 422) return 'its registry says that the request is wrong; the log of the cache says why';
  // From another process of the cache: failing registries are 502 and 504.
  if (status === 503) return 'the cache could not bring it now; the log of the cache says why';
  if (error instanceof ContentMismatchError) return 'its registry sent other bytes than the digest or size says';
  return 'its registry cannot be asked now, or something else answers in its place';
}

/** The answer to a path outside the distribution API, without a login: in the form of the control API's problems (docs/api.md). */
export function notFoundAnswer(path: string): RegistryAnswer {
  const shown = JSON.stringify(path.slice(0, MAX_PATH_CHARACTERS));
  const problem = {
    type: 'about:blank',
    title: 'Not Found',
    status: 404,
    detail: `there is no ${shown} here; this is the registry endpoint, whose paths begin with /v2/`,
    retryable: false,
  };
  return {
    status: 404,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
    body: Buffer.from(JSON.stringify(problem)),
  };
}

export function errorAnswer(
  status: number,
  code: ErrorCode | undefined,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): RegistryAnswer {
  const errors = [{ code: code ?? 'UNKNOWN', message: message.slice(0, MAX_MESSAGE_CHARACTERS) }];
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
    body: Buffer.from(JSON.stringify({ errors })),
  };
}
