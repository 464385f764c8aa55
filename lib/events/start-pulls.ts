import type { EventSettings } from '../config/config.ts';
import { CacheError, InvalidRequestError } from '../errors/cache-error.ts';
import { parsePullInput } from '../http/control/requests.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { findHit, type HitDeps } from '../pull/hit.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { globs } from '../reference/globs.ts';
import { formatReference, parseTag, type Reference } from '../reference/reference.ts';
import { allowOf, parseEcrHost, type RegistrySettings } from '../registry/settings.ts';
import type { Metrics } from '../telemetry/telemetry.ts';

/** What was pushed to ECR, or why the event is ignored. */
export type EcrPush = { readonly reference: Reference } | { readonly ignored: string };

interface EcrRules {
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly events: Pick<EventSettings, 'ecrPushes'>;
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether the event is from Amazon ECR: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
export const isEcrEvent = (event: unknown): event is Readonly<Record<string, unknown>> =>
  isMap(event) && event.source === 'aws.ecr';

/**
 * The tag that was pushed, if its repository is listed in `events.ecrPushes` and its registry configured and allowed.
 *
 * A push without a tag is ignored: it is a manifest of an index, and the index is pushed after all of its manifests.
 *
 * @throws InvalidRequestError if the event is not what ECR sends.
 */
export function parseEcrPush({ registries, events }: EcrRules, event: Readonly<Record<string, unknown>>): EcrPush {
  const { account, region } = event;
  const detail = isMap(event.detail) ? event.detail : {};
  const { 'repository-name': path, 'image-tag': tag } = detail;
  if (detail['action-type'] !== 'PUSH' || detail.result !== 'SUCCESS') return { ignored: 'not a successful push' };
  if (typeof path !== 'string' || typeof account !== 'string' || typeof region !== 'string') {
    throw new InvalidRequestError('detail', 'an event of ECR has "account", "region" and "detail.repository-name"');
  }
  if (tag === undefined || tag === '') return { ignored: 'pushed without a tag' };
  if (typeof tag !== 'string') throw new InvalidRequestError('detail.image-tag', '"detail.image-tag" is not text');

  if (!globs(events.ecrPushes)(path)) return { ignored: `${path} is not in "events.ecrPushes"` };
  const settings = [...registries.values()].find(({ name }) => {
    const host = parseEcrHost(name);
    return host?.accountId === account && host.region === region;
  });
  if (settings === undefined) return { ignored: `no ECR registry of ${account} in ${region} is configured` };
  if (!allowOf(settings)(path)) return { ignored: `${path} is not allowed by registry ${settings.name}` };
  return { reference: { repository: { registry: settings.name, path }, tag: parseTag(tag) } };
}

const MAX_FAILURES_NAMED = 20;

export interface StartPullsDeps {
  /** To find what is in the cache already, without a workflow. */
  readonly hits: HitDeps;
  readonly jobs: Jobs;
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly events: EventSettings;
  readonly metrics: Metrics;
}

/** The result of one image of an event. */
export interface StartedPull {
  readonly reference: string;
  /** Of the pull that was started or joined; absent where the cache has the image. */
  readonly id?: string;
}

/** The result of an event. */
export type EventAnswer = { readonly pulls: readonly StartedPull[] } | { readonly ignored: string };

interface Failure {
  readonly reference: string;
  readonly error: unknown;
}

/**
 * Starts, or joins, a pull for every image that the event names, without waiting for it. Accepts
 *
 * - pushes to Amazon ECR (the tag is always pulled, whatever the cache has), and
 * - `{"detail": {"reference", "platforms"?, "alwaysPull"?, "attestations"?}}` or `{"detail": {"images": […]}}`, on our bus or invoked directly.
 *
 * The same event again joins pulls that run, and does nothing where they are done.
 *
 * @throws InvalidRequestError, UnknownNameError, JobUnavailableError, CatalogError; for several images one error that names the failed ones, after all were
 * tried. Errors that no retry can mend are thrown, too, so that the event ends in the dead-letter queue.
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

/** The error itself for a single image; else one that names all failed images, and is retryable if one of them is. */
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
