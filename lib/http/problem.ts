import { STATUS_CODES } from 'node:http';
import {
  CacheError,
  ConfigError,
  InvalidRequestError,
  UpstreamUnavailableError,
  type ErrorCode,
} from '../errors/cache-error.ts';

/** The answer to a failed request of the control API: https://www.rfc-editor.org/rfc/rfc9457 (`application/problem+json`). */
export interface Problem {
  readonly type: 'about:blank';
  /** The phrase of the status. */
  readonly title: string;
  readonly status: number;
  /** What was asked, what was found, what to do. Absent for faults of our own: those are in the log, by `requestId`. */
  readonly detail?: string;
  /** A code of the distribution specification, where one fits. */
  readonly code?: ErrorCode;
  /** The field of the request that is wrong: `images[0].reference`. */
  readonly field?: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  readonly requestId: string;
}

const STATUS_OF_CODE: Readonly<Record<ErrorCode, number>> = {
  NAME_INVALID: 400,
  DIGEST_INVALID: 400,
  MANIFEST_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  MANIFEST_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  NAME_UNKNOWN: 404,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
};

/** When to come back, where nobody said: long enough for a lease to lapse or a throttled table to recover. */
const RETRY_AFTER_SECONDS = 5;

/** The HTTP status of whatever was thrown. Everything that was not thrown on purpose is 500. */
export function statusOf(error: unknown): number {
  // A wrong configuration is a client's fault to the domain, but not the fault of whoever calls over HTTP.
  if (!(error instanceof CacheError) || error instanceof ConfigError) return 500;
  if (error.code !== undefined) return STATUS_OF_CODE[error.code];
  if (error.origin === 'upstream') return error instanceof UpstreamUnavailableError && error.timedOut ? 504 : 502;
  if (error.origin === 'client') return error.retryable ? 503 : 400;
  return 503;
}

/** What the caller is told about `error`: the whole message of a CacheError, which holds no secret (I7); nothing of any other. */
export function problemOf(error: unknown, requestId: string): Problem {
  const status = statusOf(error);
  const told = status !== 500 && error instanceof CacheError ? error : undefined;
  const code = told?.code ?? (told?.cause instanceof CacheError ? told.cause.code : undefined);
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    ...(told === undefined ? {} : { detail: told.message }),
    ...(code === undefined ? {} : { code }),
    ...(told instanceof InvalidRequestError ? { field: told.field } : {}),
    retryable: told?.retryable ?? false,
    requestId,
  };
}

/** The seconds of `Retry-After`, for the answers that carry one. */
export function retryAfterSecondsOf(error: unknown): number | undefined {
  const status = statusOf(error);
  if (!(error instanceof CacheError) || (status !== 429 && status !== 503)) return undefined;
  if (error.retryAfterMs !== undefined) return Math.max(1, Math.ceil(error.retryAfterMs / 1000));
  return status === 503 ? RETRY_AFTER_SECONDS : undefined;
}
