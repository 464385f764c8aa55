import {
  BlobSizeError,
  BlobsFailedError,
  CacheError,
  ConfigError,
  FailedElsewhereError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
  type ErrorCode,
} from './cache-error.ts';

const STATUS_OF_CODE: Readonly<Record<ErrorCode, number>> = {
  NAME_INVALID: 400,
  DIGEST_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  MANIFEST_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  NAME_UNKNOWN: 404,
  UNSUPPORTED: 405,
  // Of a registry, whose manifest the client only asked for. Clients try 5xx again, and take 404 for "absent".
  MANIFEST_INVALID: 422,
  TOOMANYREQUESTS: 429,
};

/**
 * The HTTP status of whatever was thrown. Everything that was not thrown on purpose is 500.
 *
 * Here, below lib/http, because a failed pull keeps the status for those who ask later.
 */
export function statusOf(error: unknown): number {
  // A wrong configuration is a client's fault to the domain, but not the fault of whoever calls over HTTP.
  if (!(error instanceof CacheError) || error instanceof ConfigError) return 500;
  if (error instanceof FailedElsewhereError) return error.status;
  if (error instanceof BlobsFailedError) return statusOf(error.lead);
  if (error.code !== undefined) return STATUS_OF_CODE[error.code];
  if (error instanceof BlobSizeError || (error instanceof UpstreamRefusedError && error.saidByRegistry)) return 422;
  if (error.origin === 'upstream') return error instanceof UpstreamUnavailableError && error.timedOut ? 504 : 502;
  if (error.origin === 'client') return error.retryable ? 503 : 400;
  return 503;
}
