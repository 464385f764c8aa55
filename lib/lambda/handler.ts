import middy from '@middy/core';
import type { MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { startDeadline } from '../async/time.ts';
import { loadRuntimeConfig } from '../config/compiled.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { isHttpEvent } from '../http/http-event.ts';
import { problemMiddleware, httpStatusOf } from '../http/problem.ts';
import type { JobDeps } from '../jobs/jobs.ts';
import { openServices, type Services } from '../services.ts';
import { describedError, type Logger } from '../telemetry/logger.ts';
import { invocationLogger, invocationMetrics, powertoolsLogger, powertoolsMetrics } from '../telemetry/powertools.ts';
import type { Metrics } from '../telemetry/telemetry.ts';

let opening: Promise<Services> | undefined;

/**
 * The services of this process: opened at the first event, kept for the life of the process. After an error they are opened again at the next event.
 *
 * @throws ConfigError
 */
export async function processServices(): Promise<Services> {
  opening ??= open();
  try {
    return await opening;
  } catch (error) {
    opening = undefined;
    throw error;
  }
}

async function open(): Promise<Services> {
  const config = await loadRuntimeConfig();
  if (config.store.kind !== 'aws') {
    throw new ConfigError('ENTREPOT_BUCKET and ENTREPOT_TABLE are not set: the function needs both');
  }
  return openServices(config, config.store);
}

/** Reserved for the end of a pull: stopping transfers, releasing leases, answering. */
const MARGIN_MS = 10_000;
/** Of shorter invocations. */
const MARGIN_SHARE = 0.15;
/** An HTTP API gives up after 30 s. */
const HTTP_MS = 25_000;

/** How long the work may take in an invocation that ends in `remainingMs`. */
export function workMsOf(remainingMs: number, isHttp: boolean): number {
  const workMs = Math.max(0, remainingMs - Math.min(MARGIN_MS, remainingMs * MARGIN_SHARE));
  return isHttp ? Math.min(workMs, HTTP_MS) : workMs;
}

/** What the work on one event uses. Not to be used after the work returned. */
export interface Invocation {
  readonly services: Services;
  readonly metrics: Metrics;
  /** Its lines carry the request id; `keep({pullId})` adds the pull's as soon as it is known. */
  readonly logger: Logger;
  /** Aborts with a DeadlineError while there is still time to stop, clean up and answer. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** Until Lambda ends the invocation. */
  remainingMs(): number;
}

export interface HandlerOptions {
  /** The function answers an API Gateway HTTP API: errors become problem details, and the deadline is that of HTTP. */
  readonly http?: boolean;
}

const powertools = { logger: powertoolsLogger(), metrics: powertoolsMetrics() };

/**
 * The handler of a function, around its one call into lib.
 *
 * - The services are opened at the first event and kept for the life of the process.
 * - The signal fires before Lambda's timeout; the work must end then. Nothing may run after the answer.
 * - Metrics are written once, as one line, also when the work failed.
 * - An error is logged once, with request and pull id. Over HTTP it becomes problem details (an error of the caller is not logged); else the invocation
 *   fails with it, so that Step Functions and EventBridge can retry.
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
  // middy's early timeout is off: it would answer while the work still runs. The deadline above stops the work.
  const handler = middy<unknown, unknown>(handle, { timeoutEarlyInMillis: 0 });
  return http ? handler.use(problemMiddleware()) : handler;
}

/** A retryable failure is logged as a warning: the caller, or the state machine, tries again. */
function logFailure(logger: Logger, error: unknown, isAnswered: boolean): void {
  if (isAnswered && httpStatusOf(error) < 500) return;
  const retryable = error instanceof Error && 'retryable' in error && error.retryable === true;
  if (retryable) logger.warn('the invocation failed, and may be retried', { error: describedError(error) });
  else logger.error('the invocation failed', error);
}

type Task = (deps: JobDeps, event: unknown, signal: AbortSignal) => Promise<unknown>;

/** The handler of a task of the state machine; its log names the pull. */
export const taskHandler = (task: Task): MiddyfiedHandler<unknown, unknown> =>
  lambdaHandler((event, { services, metrics, logger, signal }) => {
    logger.keep({ pullId: (event as { id?: unknown } | null)?.id });
    const { pull, records, plans, workflowLeases: leases, announcer } = services;
    return task({ pull, records, leases, plans, announcer, metrics }, event, signal);
  });
