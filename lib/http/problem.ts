import { STATUS_CODES } from 'node:http';
import type { MiddlewareObj, Request } from '@middy/core';
import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { CacheError, type ErrorCode, InvalidRequestError } from '../errors/cache-error.ts';
import { statusOfError as statusOfDomain } from '../errors/status.ts';
import type { DocumentOf, problemSchema } from './control/answer-schemas.ts';
import { isHttpEvent, jsonAnswer } from './http-event.ts';

/** An error of HTTP itself: an unknown path or method, or a name under which nothing is found. */
export class HttpError extends CacheError {
  readonly status: 400 | 404 | 405;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: 400 | 404 | 405,
    message: string,
    { code, headers = {} }: { code?: ErrorCode; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message, { op: 'answer', origin: 'client', retryable: false, ...(code === undefined ? {} : { code }) });
    this.status = status;
    this.headers = headers;
  }
}

/** The answer to a failed request of the control API: https://www.rfc-editor.org/rfc/rfc9457 (`application/problem+json`). */
export type Problem = DocumentOf<typeof problemSchema>;

/** The default of `Retry-After`: long enough for a lease to expire or a throttled table to recover. */
const RETRY_AFTER_SECONDS = 5;

/** The HTTP status of an error. Unexpected errors are 500. */
export const httpStatusOf = (error: unknown): number =>
  error instanceof HttpError ? error.status : statusOfDomain(error);

/** What the caller learns of `error`: the message of a CacheError, which holds no secret (I7); nothing of any other error. */
export function problemOf(error: unknown, requestId: string): Problem {
  const status = httpStatusOf(error);
  const known = status !== 500 && error instanceof CacheError ? error : undefined;
  const code = known?.code ?? (known?.cause instanceof CacheError ? known.cause.code : undefined);
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    ...(known === undefined ? {} : { detail: known.message }),
    ...(code === undefined ? {} : { code }),
    ...(known instanceof InvalidRequestError ? { field: known.field } : {}),
    retryable: known?.retryable ?? false,
    requestId,
  };
}

/** The seconds of `Retry-After` for 429 and 503: from `retryAfterMs`; for 503 without it a default. */
export function retryAfterSecondsOf(status: number, retryAfterMs: number | undefined): number | undefined {
  if (status !== 429 && status !== 503) return undefined;
  if (retryAfterMs !== undefined) return Math.max(1, Math.ceil(retryAfterMs / 1000));
  return status === 503 ? RETRY_AFTER_SECONDS : undefined;
}

/** An error as problem details, with their headers. */
export function problemAnswer(error: unknown, requestId: string): APIGatewayProxyStructuredResultV2 {
  const retryAfterMs = error instanceof CacheError ? error.retryAfterMs : undefined;
  const problem = problemOf(error, requestId);
  return problemDocument(problem, retryAfterSecondsOf(problem.status, retryAfterMs), {
    ...(error instanceof HttpError ? error.headers : {}),
  });
}

export function problemDocument(
  problem: Problem,
  retryAfterSeconds: number | undefined,
  headers: Readonly<Record<string, string>> = {},
): APIGatewayProxyStructuredResultV2 {
  return jsonAnswer(problem.status, problem, {
    'content-type': 'application/problem+json',
    'x-request-id': problem.requestId,
    ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
    // RFC 9110, section 15.5.2: a 401 names the challenges.
    ...(problem.status === 401 ? { 'www-authenticate': 'AWS4-HMAC-SHA256, Bearer' } : {}),
    ...headers,
  });
}

/** Answers errors of a handler behind an HTTP API with problem details. Any other invocation fails with the error. */
export function problemMiddleware(): MiddlewareObj {
  return {
    onError(request: Request) {
      if (isHttpEvent(request.event)) request.response = problemAnswer(request.error, request.context.awsRequestId);
    },
  };
}
