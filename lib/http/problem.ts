import { STATUS_CODES } from 'node:http';
import { CacheError, InvalidRequestError } from '../errors/cache-error.ts';
import { statusOf as statusOfDomain } from '../errors/status.ts';
import { HttpError } from './http-error.ts';
import type { DocumentOf, problemSchema } from './answer-schemas.ts';

/** The answer to a failed request of the control API: https://www.rfc-editor.org/rfc/rfc9457 (`application/problem+json`). */
export type Problem = DocumentOf<typeof problemSchema>;

/** When to come back, where nobody said: long enough for a lease to lapse or a throttled table to recover. */
const RETRY_AFTER_SECONDS = 5;

/** The HTTP status of whatever was thrown. Everything that was not thrown on purpose is 500. */
export const statusOf = (error: unknown): number => (error instanceof HttpError ? error.status : statusOfDomain(error));

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

/** The seconds of `Retry-After`, for the statuses that carry one: those of `retryAfterMs`, and for 503 the usual ones where nobody said a time. */
export function retryAfterSecondsOf(status: number, retryAfterMs: number | undefined): number | undefined {
  if (status !== 429 && status !== 503) return undefined;
  if (retryAfterMs !== undefined) return Math.max(1, Math.ceil(retryAfterMs / 1000));
  return status === 503 ? RETRY_AFTER_SECONDS : undefined;
}
