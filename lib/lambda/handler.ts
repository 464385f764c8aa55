import middy, { type MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { startDeadline } from '../async/time.ts';
import { workMsOf } from '../http/deadline.ts';
import { isHttpEvent } from '../http/http-event.ts';
import { problemMiddleware } from '../http/problem-middleware.ts';
import { statusOf } from '../http/problem.ts';
import type { Services } from '../services.ts';
import { describedError, type Logger } from '../telemetry/logger.ts';
import { invocationLogger, invocationMetrics, powertoolsLogger, powertoolsMetrics } from '../telemetry/powertools.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import { processServices } from './open-services.ts';

/** What one event is worked on with. Nothing of it may be used after the work returned. */
export interface Invocation {
  readonly services: Services;
  readonly metrics: Metrics;
  /** Its lines carry the request id; `keep({pullId})` adds the pull's as soon as it is known. */
  readonly logger: Logger;
  /** Aborts with a DeadlineError while there is still time to give up, tidy and answer. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** Of the invocation, until Lambda kills it. */
  remainingMs(): number;
}

export interface HandlerOptions {
  /** The function answers an API Gateway HTTP API: errors become problem details, and the time is an HTTP client's. */
  readonly http?: boolean;
}

const powertools = { logger: powertoolsLogger(), metrics: powertoolsMetrics() };

/**
 * The handler of a function, around its one call into lib.
 *
 * - The services are opened by the first event and kept for the life of the process.
 * - The signal fires before Lambda's time is over; the work must end then. Nothing runs on after the answer.
 * - Metrics are written once, as one line, also when the work failed.
 * - An error is logged once, with request and pull id. Over HTTP it then becomes problem details (a fault of the caller is not logged); else the
 *   invocation fails with it as it is, so that Step Functions and EventBridge can tell and retry.
 */
export function lambdaHandler(
  work: (event: unknown, invocation: Invocation) => Promise<unknown>,
  { http = false }: HandlerOptions = {},
): MiddyfiedHandler<unknown, unknown> {
  const handle = async (event: unknown, context: Context): Promise<unknown> => {
    const requestId = context.awsRequestId;
    const remainingMs = (): number => context.getRemainingTimeInMillis();
    const logger = invocationLogger(powertools.logger, { requestId });
    const metrics = invocationMetrics(powertools.metrics);
    using deadline = startDeadline(workMsOf(remainingMs(), http));
    const { signal } = deadline;
    try {
      return await work(event, { services: await processServices(), metrics, logger, signal, requestId, remainingMs });
    } catch (error) {
      logFailure(logger, error, http && isHttpEvent(event));
      throw error;
    } finally {
      metrics.flush();
    }
  };
  // middy's early time-out is off: it would answer while the work still runs. The deadline above stops the work itself.
  const handler = middy<unknown, unknown>(handle, { timeoutEarlyInMillis: 0 });
  return http ? handler.use(problemMiddleware()) : handler;
}

/** What may go away by itself is no error yet: the caller, or the state machine, tries again. */
function logFailure(logger: Logger, error: unknown, isAnswered: boolean): void {
  if (isAnswered && statusOf(error) < 500) return;
  const retryable = error instanceof Error && 'retryable' in error && error.retryable === true;
  if (retryable) logger.warn('the invocation failed, and may be tried again', { error: describedError(error) });
  else logger.error('the invocation failed', error);
}
