import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { CacheError } from '../errors/cache-error.ts';
import { HttpError } from './http-error.ts';
import { jsonAnswer } from './http-event.ts';
import { problemOf, retryAfterSecondsOf, type Problem } from './problem.ts';

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
