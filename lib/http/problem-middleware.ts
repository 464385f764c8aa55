import type { MiddlewareObj, Request } from '@middy/core';
import { isHttpEvent } from './http-event.ts';
import { problemAnswer } from './problem-answer.ts';

/** The end of every error of a handler behind an HTTP API: an answer of problem details. For whoever invokes it otherwise, the invocation fails. */
export function problemMiddleware(): MiddlewareObj {
  return {
    onError(request: Request) {
      if (isHttpEvent(request.event)) request.response = problemAnswer(request.error, request.context.awsRequestId);
    },
  };
}
