import { CacheError } from '../lib/errors/cache-error.ts';
import { statusOfError } from '../lib/errors/status.ts';
import { parsePullInput } from '../lib/http/control/requests.ts';
import { lambdaHandler, type Invocation } from '../lib/lambda/handler.ts';
import type { PullRequest } from '../lib/pull/pull-request.ts';
import { pull } from '../lib/pull/pull.ts';
import type { Receipt } from '../lib/pull/receipt.ts';
import { formatReference } from '../lib/reference/reference.ts';
import { countedUpstreams } from '../lib/telemetry/counted-upstreams.ts';

/** The result of an invocation. */
export type PullAnswer = Receipt | { readonly receipts: readonly Receipt[] };

/** An image of a list that failed; the others are still pulled. */
interface Failure {
  readonly reference: string;
  readonly error: unknown;
}

const MAX_FAILURES_NAMED = 20;

/**
 * A pull in one process, for direct invocations: other people's state machines, scripts, EventBridge rules of their own. See {@link parsePullInput} for the
 * documents. (The control API and warm-ups start the workflow instead: functions/plan.ts.)
 *
 * Answers with the receipt, or `{receipts}` for a list, and announces what it pulled where there is a bus. Near the deadline of the invocation a pull stops
 * cleanly, and its receipt says `partial`: ask again. All images of a list are tried; if one fails, the invocation fails, so that its caller retries.
 *
 * IAM decides who may invoke it; they can pull whatever the configuration allows.
 */
export const handler = lambdaHandler(async (event, invocation): Promise<PullAnswer> => {
  const input = parsePullInput(event);
  if (input.kind === 'one') return await pullOne(invocation, input.request);
  return await pullAll(invocation, input.requests);
});

async function pullOne({ services, metrics, signal }: Invocation, request: PullRequest): Promise<Receipt> {
  const upstreams = { ...services.pull.upstreams, ...countedUpstreams(services.pull.upstreams, metrics) };
  let receipt: Receipt;
  try {
    receipt = await pull({ ...services.pull, upstreams }, request, signal);
  } catch (error) {
    metrics.add('PullsFailed', 1);
    throw error;
  } finally {
    upstreams.report();
  }
  if (receipt.outcome === 'hit') metrics.add('Hits', 1);
  if (receipt.outcome === 'pulled') {
    metrics.add('Misses', 1);
    metrics.add('FillMilliseconds', receipt.durationMs);
  }
  metrics.add('BytesCopied', receipt.bytes.copied);
  metrics.add('BytesSaved', receipt.bytes.present);
  const { config, announcer } = services;
  const hasBus = config.store.kind === 'aws' && config.store.bus !== undefined;
  if (receipt.outcome === 'pulled' && hasBus) {
    await announcer.announce({ type: 'Image Cached', detail: { pullId: null, receipt } }, signal);
  }
  return receipt;
}

/** One after the other: each pull has its own parallelism, and memory is bounded for one. */
async function pullAll(invocation: Invocation, requests: readonly PullRequest[]): Promise<PullAnswer> {
  const receipts: Receipt[] = [];
  const failures: Failure[] = [];
  for (const request of requests) {
    try {
      receipts.push(await pullOne(invocation, request));
    } catch (error) {
      failures.push({ reference: formatReference(request.reference), error });
    }
  }
  if (failures.length > 0) throw failureOf(failures, receipts.length);
  return { receipts };
}

/** One error for all: it names them, and is retryable if one of them is. Unexpected errors are only in its cause. */
function failureOf(failures: readonly Failure[], done: number): CacheError {
  const named = failures.slice(0, MAX_FAILURES_NAMED).map(({ reference, error }) => {
    const known = statusOfError(error) !== 500 && error instanceof Error;
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
