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

/*
 * MANIFEST_INVALID is 422 and not the 400 of a bad push: here the manifest comes from the upstream and the client's request
 * is fine. Clients retry a 502, and take a 404 for "absent". See docs/decisions/0042.
 */
const STATUS_OF_CODE: Readonly<Record<ErrorCode, number>> = {
  NAME_INVALID: 400,
  DIGEST_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  MANIFEST_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  NAME_UNKNOWN: 404,
  UNSUPPORTED: 405,
  MANIFEST_INVALID: 422,
  TOOMANYREQUESTS: 429,
};

/**
 * The HTTP status of an error. Anything that is not a {@link CacheError} is 500.
 *
 * Here and not in lib/http, because a failed pull records the status for later callers.
 */
export function statusOfError(error: unknown): number {
  // A wrong configuration is our fault, not that of the HTTP caller, whatever its origin says.
  if (!(error instanceof CacheError) || error instanceof ConfigError) return 500;
  if (error instanceof FailedElsewhereError) return error.status;
  if (error instanceof BlobsFailedError) return statusOfError(error.lead);
  if (error.code !== undefined) return STATUS_OF_CODE[error.code];
  // No retry fixes these, so they are not 502 either (decision 0042).
  if (error instanceof BlobSizeError || (error instanceof UpstreamRefusedError && error.saidByRegistry)) return 422;
  if (error.origin === 'upstream') return error instanceof UpstreamUnavailableError && error.timedOut ? 504 : 502;
  if (error.origin === 'client') return error.retryable ? 503 : 400;
  return 503;
}
