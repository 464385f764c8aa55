import type { EventSettings } from '../config/config.ts';
import { CacheError } from '../errors/cache-error.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { parsePullInput } from '../http/request.ts';
import { findHit, type HitDeps } from '../pull/hit.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { formatReference } from '../reference/reference.ts';
import type { RegistrySettings } from '../registry/settings.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import { isEcrEvent, parseEcrPush } from './ecr-push.ts';

const MAX_FAILURES_NAMED = 20;

export interface StartPullsDeps {
  /** To answer what is there already without a workflow. */
  readonly hits: HitDeps;
  readonly jobs: Jobs;
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly events: EventSettings;
  readonly metrics: Metrics;
}

/** What came of one image of an event. */
export interface StartedPull {
  readonly reference: string;
  /** Of the pull that was started or joined; none where the cache has all of it. */
  readonly id?: string;
}

/** What came of an event. */
export type EventAnswer = { readonly pulls: readonly StartedPull[] } | { readonly ignored: string };

interface Failure {
  readonly reference: string;
  readonly error: unknown;
}

/**
 * Starts, or joins, a pull for every image that the event names; waits for none. Understands
 *
 * - pushes to Amazon ECR (the tag is always pulled, whatever the cache has), and
 * - `{"detail": {"reference", "platforms"?, "alwaysPull"?, "attestations"?}}` or `{"detail": {"images": […]}}`, on our bus or invoked directly.
 *
 * The same event again joins the pulls that run, and finds nothing to do where they are done.
 *
 * @throws InvalidRequestError, UnknownNameError, JobUnavailableError, CatalogError; for several images one error that names those that failed, after all
 * were tried. Errors that no retry mends are thrown, too: the event shall end in the dead-letter queue and not be lost.
 */
export async function startPulls(deps: StartPullsDeps, event: unknown, signal: AbortSignal): Promise<EventAnswer> {
  const requests = requestsOf(deps, event);
  if ('ignored' in requests) return requests;
  const pulls: StartedPull[] = [];
  const failures: Failure[] = [];
  for (const request of requests) {
    const reference = formatReference(request.reference);
    try {
      pulls.push({ reference, ...(await startPull(deps, request, signal)) });
    } catch (error) {
      failures.push({ reference, error });
    }
  }
  if (failures.length === 0) return { pulls };
  const lasting = failures.filter(({ error }) => error instanceof CacheError && !error.retryable);
  if (lasting.length > 0) deps.metrics.add('PullsFailed', lasting.length);
  throw failureOf(failures, requests.length);
}

function requestsOf(deps: StartPullsDeps, event: unknown): readonly PullRequest[] | { readonly ignored: string } {
  if (isEcrEvent(event)) {
    const push = parseEcrPush(deps, event);
    if ('ignored' in push) return push;
    return [{ reference: push.reference, platforms: [], alwaysPull: true, attestations: true }];
  }
  const input = parsePullInput(event);
  return input.kind === 'one' ? [input.request] : input.requests;
}

async function startPull(
  { hits, jobs }: StartPullsDeps,
  request: PullRequest,
  signal: AbortSignal,
): Promise<{ readonly id?: string }> {
  if ((await findHit(hits, request, signal)) !== undefined) return {};
  const { id } = await jobs.start(request, signal);
  return { id };
}

/** The error itself for a single image; else one that names them all, and may be retried if one of them may. */
function failureOf(failures: readonly Failure[], count: number): unknown {
  const [first] = failures;
  if (count === 1 && first !== undefined) return first.error;
  const errors = failures.map(({ error }) => error);
  const known = errors.filter((error) => error instanceof CacheError);
  const named = failures.slice(0, MAX_FAILURES_NAMED).map(({ reference, error }) => {
    return `${reference}: ${error instanceof CacheError ? error.message : 'an internal error, see the log'}`;
  });
  const more = failures.length > named.length ? [`and ${failures.length - named.length} more`] : [];
  return new CacheError([`${failures.length} of ${count} pulls could not be started`, ...named, ...more].join('\n  '), {
    op: 'start pulls',
    origin: known[0]?.origin ?? 'store',
    retryable: known.length < errors.length || known.some(({ retryable }) => retryable),
    cause: new AggregateError(errors),
  });
}
