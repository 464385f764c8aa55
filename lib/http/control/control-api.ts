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
import { problemAnswer, statusOf } from '../problem.ts';
import { postPull } from './pulls.ts';
import { type Operation, routeOf } from './routes.ts';

export type Answer = APIGatewayProxyStructuredResultV2;

/** What the control API works with. What a hit does not need is loaded by its first use. */
export interface ApiDeps extends Omit<PullDeps, 'upstreams' | 'progress'> {
  readonly access: AccessSettings;
  /** Where this deployment keeps things, as it was told at its start. */
  readonly deployment: {
    readonly bucket: string;
    readonly table: string;
    readonly stateMachine?: string;
    readonly bus?: string;
  };
  /** How this deployment serves, as it was configured. */
  readonly serve: Pick<ServeSettings, 'front' | 'auth' | 'blobEndpoint'>;
  readonly records: PullRecords;
  readonly jobs: Jobs;
  /** Undefined where the deployment has no secret to sign with. */
  readonly keys?: MintingKeys | undefined;
}

/** One request of a caller that is known. */
export interface ApiCall {
  readonly request: HttpRequest;
  /** What stands for `{id}` in the path: not yet known to be one. */
  readonly id: string;
  readonly caller: Caller;
  readonly access: Access;
  readonly requestId: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
}

/** What answers one route. Whatever it throws becomes problem details. */
export type Operate = (deps: ApiDeps, call: ApiCall) => Promise<Answer>;

/** What a hit needs is loaded with the function, all else when it is first asked for. */
const OPERATIONS: Readonly<Record<Operation, () => Operate | Promise<Operate>>> = {
  pull: () => postPull,
  findPull: async () => (await import('./pulls.ts')).findPull,
  listImages: async () => (await import('./images.ts')).listImages,
  removeTag: async () => (await import('./images.ts')).deleteImage,
  validate: async () => (await import('./images.ts')).postValidate,
  token: async () => (await import('./deployment.ts')).postToken,
  deployment: async () => (await import('./deployment.ts')).getDeployment,
};

/** What is known of one invocation before its request was looked at. */
export type ApiInvocation = Pick<ApiCall, 'logger' | 'metrics' | 'signal' | 'requestId'>;

/** What the log tells of a request, as soon as it is known. */
interface Told {
  caller?: string;
  route?: string;
}

/**
 * Answers one request of the control API: always an answer, never an error. Writes one line of log.
 *
 * In this order: who calls (401), what for (404, 405), whether at all (403), then the route itself, which asks what this caller may use.
 */
export async function answerRequest(
  deps: ApiDeps,
  event: APIGatewayProxyEventV2,
  invocation: ApiInvocation,
): Promise<Answer> {
  const startedMs = performance.now();
  const told: Told = {};
  const { requestId, logger } = invocation;
  let answer: Answer;
  let failure: unknown;
  try {
    answer = await operate(deps, event, invocation, told);
  } catch (error) {
    failure = error;
    answer = problemAnswer(error, requestId);
  }
  logRequest(logger, failure, {
    ...told,
    status: answer.statusCode,
    durationMs: Math.round(performance.now() - startedMs),
  });
  return { ...answer, headers: { ...answer.headers, 'x-request-id': requestId } };
}

async function operate(
  deps: ApiDeps,
  event: APIGatewayProxyEventV2,
  invocation: ApiInvocation,
  told: Told,
): Promise<Answer> {
  const request = httpRequest(event);
  const caller = parseCaller(deps.access, request.authorizer);
  told.caller = nameOfCaller(caller);
  const route = routeOf(request.method, request.path);
  told.route = route.name;
  const access = accessOf(deps.access, caller);
  const answer = await OPERATIONS[route.operation]();
  return await answer(deps, { ...invocation, request, id: route.id, caller, access });
}

/** A fault that may go away by itself is no error yet: the caller asks again. */
function logRequest(logger: Logger, failure: unknown, fields: LogFields): void {
  if (failure === undefined) logger.info('request', fields);
  else if (statusOf(failure) < 500) logger.info('request', { ...fields, reason: reasonOf(failure) });
  else if (failure instanceof CacheError && failure.retryable) {
    logger.warn('request', { ...fields, reason: reasonOf(failure) });
  } else logger.error('request', failure, fields);
}

/** Errors of our own alone are told: they hold no secret (I7). */
const reasonOf = (failure: unknown): string =>
  failure instanceof CacheError ? `${failure.name}: ${failure.message}` : 'an error that was not thrown on purpose';
