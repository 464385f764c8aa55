import middy from '@middy/core';
import type { APIGatewayProxyStructuredResultV2, Context } from 'aws-lambda';
import { loadConfig } from '../lib/config/config.ts';
import { CacheError, ConfigError } from '../lib/errors/cache-error.ts';
import { startDeadline, workMsOf } from '../lib/http/deadline.ts';
import { isHttpEvent, jsonAnswer, readJsonBody } from '../lib/http/http-event.ts';
import { problemMiddleware } from '../lib/http/problem-middleware.ts';
import { problemOf, statusOf } from '../lib/http/problem.ts';
import { parsePullInput, type PullInput } from '../lib/http/request.ts';
import { pull } from '../lib/pull/pull.ts';
import type { Receipt } from '../lib/pull/receipt.ts';
import { formatReference } from '../lib/reference/reference.ts';
import { openServices, type Services } from '../lib/services.ts';

/** An image of a list that failed: the others go on. */
interface Failure {
  readonly reference: string;
  readonly error: unknown;
}

interface Outcome {
  readonly receipts: readonly Receipt[];
  readonly failures: readonly Failure[];
}

/** What a direct invocation, Step Functions or EventBridge gets back. */
export type PullAnswer = Receipt | { readonly receipts: readonly Receipt[] };

const MAX_FAILURES_NAMED = 20;

/** Opened by the first request that makes sense, kept for the life of the process. A wrong configuration is tried anew each time. */
let opened: Services | undefined;

function services(): Services {
  if (opened !== undefined) return opened;
  const config = loadConfig();
  if (config.store.kind !== 'aws') {
    throw new ConfigError('ENTREPOT_BUCKET and ENTREPOT_TABLE are not set: the function needs both');
  }
  opened = openServices(config, config.store);
  return opened;
}

/**
 * Pulls what the event asks for, and answers with receipts. Understands `POST /v1/pull` of an API Gateway HTTP API (payload 2.0), EventBridge
 * events and schedule inputs, and direct or Step Functions invocations; see {@link parsePullInput} for the documents.
 *
 * - Near the deadline of the invocation (HTTP: 25 s) a pull stops cleanly, and its receipt says `partial`. That is a success: 200.
 * - HTTP: 200 with the receipt; for a list 200 with `{receipts, errors}`, 207 where an image of the list failed; else problem details.
 * - Otherwise: the receipt, or `{receipts}`. All images of a list are tried; if one failed the invocation fails, so that it is retried.
 *
 * Who may call is decided by the API's authoriser and by IAM, never by what the event looks like: everyone who reaches this line may pull
 * whatever the configuration allows.
 */
async function handlePull(event: unknown, context: Context): Promise<PullAnswer | APIGatewayProxyStructuredResultV2> {
  const isHttp = isHttpEvent(event);
  const input = parsePullInput(isHttp ? readJsonBody(event) : event);
  using deadline = startDeadline(workMsOf(context.getRemainingTimeInMillis(), isHttp));
  if (input.kind === 'one') {
    const receipt = await pull(services().pull, input.request, deadline.signal);
    return isHttp ? jsonAnswer(200, receipt) : receipt;
  }
  const { receipts, failures } = await pullAll(input, deadline.signal);
  if (isHttp)
    return jsonAnswer(failures.length === 0 ? 200 : 207, { receipts, errors: failures.map(problemOfFailure) });
  if (failures.length > 0) throw failureOf(failures, receipts.length);
  return { receipts };

  function problemOfFailure({ reference, error }: Failure): object {
    return { reference, error: problemOf(error, context.awsRequestId) };
  }
}

/** One after the other: each pull has its own parallelism, and memory is bounded for one. */
async function pullAll(input: PullInput & { kind: 'list' }, deadline: AbortSignal): Promise<Outcome> {
  const { pull: deps } = services();
  const receipts: Receipt[] = [];
  const failures: Failure[] = [];
  for (const request of input.requests) {
    try {
      receipts.push(await pull(deps, request, deadline));
    } catch (error) {
      failures.push({ reference: formatReference(request.reference), error });
    }
  }
  return { receipts, failures };
}

/** One error for all: it names them, and may be retried if one of them may. Faults that were not thrown on purpose are in its cause alone. */
function failureOf(failures: readonly Failure[], done: number): CacheError {
  const named = failures.slice(0, MAX_FAILURES_NAMED).map(({ reference, error }) => {
    const known = statusOf(error) !== 500 && error instanceof Error;
    return `${reference}: ${known ? error.message : 'an internal error, see the log'}`;
  });
  const more = failures.length > named.length ? [`and ${failures.length - named.length} more`] : [];
  const errors = failures.map((failure) => failure.error);
  return new CacheError(
    [`${failures.length} of ${failures.length + done} images failed`, ...named, ...more].join('\n  '),
    {
      op: 'pull images',
      origin: errors.find((error) => error instanceof CacheError)?.origin ?? 'store',
      retryable: errors.some((error) => !(error instanceof CacheError) || error.retryable),
      cause: new AggregateError(errors),
    },
  );
}

/** middy's early time-out is off: it would answer while the pull still runs. The deadline above stops the pull itself. */
export const handler = middy<unknown, PullAnswer | APIGatewayProxyStructuredResultV2>(handlePull, {
  timeoutEarlyInMillis: 0,
}).use(problemMiddleware());
