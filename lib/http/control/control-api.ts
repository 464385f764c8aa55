import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { type Access, accessOf, type AccessSettings, type Caller } from '../../access/access.ts';
import type { MintingKeys } from '../../access/minted.ts';
import { nameOfCaller, parseCaller } from '../../access/principal.ts';
import { CacheError } from '../../errors/cache-error.ts';
import type { Jobs } from '../../jobs/jobs.ts';
import type { PullRecords } from '../../jobs/pull-record.ts';
import type { PullDeps } from '../../pull/pull-request.ts';
import type { ServeSettings } from '../../serve/settings.ts';
import type { LogFields, Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/telemetry.ts';
import { type HttpRequest, httpRequest } from '../http-event.ts';
import { problemAnswer, httpStatusOf } from '../problem.ts';
import { postPull } from './pulls.ts';
import { type Operation, routeOf } from './routes.ts';

export type Answer = APIGatewayProxyStructuredResultV2;

/** What the control API works with. Parts that a hit does not need are loaded at their first use. */
export interface ApiDeps extends Omit<PullDeps, 'upstreams' | 'progress'> {
  readonly access: AccessSettings;
  /** The resources of this deployment. */
  readonly deployment: {
    readonly bucket: string;
    readonly table: string;
    readonly stateMachine?: string;
    readonly bus?: string;
  };
  /** How this deployment serves. */
  readonly serve: Pick<ServeSettings, 'front' | 'auth' | 'blobEndpoint'>;
  readonly records: PullRecords;
  readonly jobs: Jobs;
  /** Undefined where the deployment has no signing secret. */
  readonly keys?: MintingKeys | undefined;
}

/** A request of an authenticated caller. */
export interface ApiCall {
  readonly request: HttpRequest;
  /** The text for `{id}` in the path; not yet validated. */
  readonly id: string;
  readonly caller: Caller;
  readonly access: Access;
  readonly requestId: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
}

/** Answers one route. Its errors become problem details. */
export type Operate = (deps: ApiDeps, call: ApiCall) => Promise<Answer>;

/** What a hit needs is loaded with the function, everything else at its first use. */
const OPERATIONS: Readonly<Record<Operation, () => Operate | Promise<Operate>>> = {
  pull: () => postPull,
  findPull: async () => (await import('./pulls.ts')).findPull,
  listImages: async () => (await import('./images.ts')).listImages,
  removeTag: async () => (await import('./images.ts')).deleteImage,
  validate: async () => (await import('./images.ts')).postValidate,
  token: async () => (await import('./deployment.ts')).postToken,
  deployment: async () => (await import('./deployment.ts')).getDeployment,
};

/** What is known of an invocation before its request is read. */
export type ApiInvocation = Pick<ApiCall, 'logger' | 'metrics' | 'signal' | 'requestId'>;

/** What is logged of a request, as soon as it is known. */
interface Known {
  caller?: string;
  route?: string;
}

/**
 * Answers one request of the control API: always an answer, never an error. Writes one line of log.
 *
 * In this order: the caller (401), the route (404, 405), whether the caller may call at all (403), then the route, which checks what the caller may use.
 */
export async function answerRequest(
  deps: ApiDeps,
  event: APIGatewayProxyEventV2,
  invocation: ApiInvocation,
): Promise<Answer> {
  const startedMs = performance.now();
  const known: Known = {};
  const { requestId, logger } = invocation;
  let answer: Answer;
  let failure: unknown;
  try {
    answer = await operate(deps, event, invocation, known);
  } catch (error) {
    failure = error;
    answer = problemAnswer(error, requestId);
  }
  logRequest(logger, failure, {
    ...known,
    status: answer.statusCode,
    durationMs: Math.round(performance.now() - startedMs),
  });
  return { ...answer, headers: { ...answer.headers, 'x-request-id': requestId } };
}

async function operate(
  deps: ApiDeps,
  event: APIGatewayProxyEventV2,
  invocation: ApiInvocation,
  known: Known,
): Promise<Answer> {
  const request = httpRequest(event);
  const caller = parseCaller(deps.access, request.authorizer);
  known.caller = nameOfCaller(caller);
  const route = routeOf(request.method, request.path);
  known.route = route.name;
  const access = accessOf(deps.access, caller);
  const answer = await OPERATIONS[route.operation]();
  return await answer(deps, { ...invocation, request, id: route.id, caller, access });
}

/** A retryable failure is logged as a warning: the caller asks again. */
function logRequest(logger: Logger, failure: unknown, fields: LogFields): void {
  if (failure === undefined) logger.info('request', fields);
  else if (httpStatusOf(failure) < 500) logger.info('request', { ...fields, reason: reasonOf(failure) });
  else if (failure instanceof CacheError && failure.retryable) {
    logger.warn('request', { ...fields, reason: reasonOf(failure) });
  } else logger.error('request', failure, fields);
}

/** Only the messages of CacheErrors are logged: they hold no secret (I7). */
const reasonOf = (failure: unknown): string =>
  failure instanceof CacheError ? `${failure.name}: ${failure.message}` : 'an unexpected error';
