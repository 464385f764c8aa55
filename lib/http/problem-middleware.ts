import type { MiddlewareObj, Request } from '@middy/core';
import { isHttpEvent, jsonAnswer } from './http-event.ts';
import { logError } from './log.ts';
import { problemOf, retryAfterSecondsOf } from './problem.ts';

/**
 * The end of every error of a handler: an answer of problem details for HTTP callers; for all others the invocation fails with the error
 * as it is, so that EventBridge and Step Functions retry. Faults (5xx) are logged, with the request id that the caller is told.
 */
export function problemMiddleware(): MiddlewareObj {
  return {
    onError(request: Request) {
      const requestId = request.context.awsRequestId;
      const problem = problemOf(request.error, requestId);
      const isHttp = isHttpEvent(request.event);
      if (problem.status >= 500 || !isHttp) logError('the request failed', request.error, { requestId });
      if (!isHttp) return;
      const retryAfterSeconds = retryAfterSecondsOf(request.error);
      request.response = jsonAnswer(problem.status, problem, {
        'content-type': 'application/problem+json',
        ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
      });
    },
  };
}
