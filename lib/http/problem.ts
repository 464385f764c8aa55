import { STATUS_CODES } from 'node:http';
import type { MiddlewareObj, Request } from '@middy/core';
import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { CacheError, type ErrorCode, InvalidRequestError } from '../errors/cache-error.ts';
import { statusOfError as statusOfDomain } from '../errors/status.ts';
import type { DocumentOf, problemSchema } from './control/answer-schemas.ts';
import { isHttpEvent, jsonAnswer } from './http-event.ts';

/** An answer that HTTP alone knows: a path or method that is not there, a thing that is not found under its name. */
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

/** Whatever was thrown, as problem details with the headers that belong to them. */
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
    // RFC 9110, section 15.5.2: 401 says how to ask.
    ...(problem.status === 401 ? { 'www-authenticate': 'AWS4-HMAC-SHA256, Bearer' } : {}),
    ...headers,
  });
}

/** The end of every error of a handler behind an HTTP API: an answer of problem details. For whoever invokes it otherwise, the invocation fails. */
export function problemMiddleware(): MiddlewareObj {
  return {
    onError(request: Request) {
      if (isHttpEvent(request.event)) request.response = problemAnswer(request.error, request.context.awsRequestId);
    },
  };
}
