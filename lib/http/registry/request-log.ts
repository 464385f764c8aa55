import { UnknownNameError } from '../../errors/cache-error.ts';
import { formatRepository } from '../../reference/reference.ts';
import type { ServeCall } from '../../serve/serving.ts';
import { clientText, type LogFields } from '../../telemetry/logger.ts';
import { httpStatusOf } from '../problem.ts';
import type { RegistryAnswer, RegistryRequest } from './open-registry.ts';
import type { RegistryRoute } from './registry-route.ts';

/** What is known of a request before its answer. */
export interface KnownOfRequest {
  puller?: string;
  route?: RegistryRoute;
}

interface Answered {
  readonly answer: RegistryAnswer;
  /** The error that was answered, if any. */
  readonly failure: unknown;
  readonly durationMs: number;
}

/**
 * Writes one line for one request: docs/serving.md lists its fields. Text from the client is cut and escaped; of the path only the names of content are logged,
 * and nothing of the query.
 */
export function logAnswered(
  { signal, logger }: ServeCall,
  request: RegistryRequest,
  known: KnownOfRequest,
  answered: Answered,
): void {
  const { failure } = answered;
  const line = 'pull request';
  const fields = fieldsOf(request, known, answered);
  const status = httpStatusOf(failure);
  if (failure === undefined) logger.info(line, fields);
  // The client has left without an answer: not an error of the cache.
  else if (signal.aborted && failure === signal.reason) logger.info(line, { ...fields, left: true });
  else if (status === 500) logger.error(line, failure, fields);
  else if (status < 500) logger.info(line, { ...fields, reason: reasonOf(failure) });
  else logger.warn(line, { ...fields, reason: reasonOf(failure) });
}

function fieldsOf(request: RegistryRequest, { puller, route }: KnownOfRequest, { answer, durationMs }: Answered) {
  const userAgent = request.header('user-agent');
  return {
    method: clientText(request.method),
    ...(route === undefined ? { path: clientText(request.path) } : contentOf(route)),
    ...answer.servedAs,
    status: answer.status,
    durationMs,
    ...(puller === undefined ? {} : { puller }),
    ...(request.address === undefined ? {} : { address: request.address }),
    ...(userAgent === undefined ? {} : { userAgent: clientText(userAgent) }),
  } satisfies LogFields;
}

/** The requested content. Parsed names have no character that could forge a log line. */
function contentOf(route: RegistryRoute): LogFields {
  if (route.kind === 'ping') return { route: 'ping' };
  if (route.kind === 'catalog')
    return { route: 'catalog', ...(route.registry === undefined ? {} : { registry: route.registry }) };
  if (route.kind !== 'manifest') {
    const { kind, repository } = route;
    const digest = 'digest' in route ? { digest: route.digest } : {};
    return { route: kind, repository: formatRepository(repository), ...digest };
  }
  const { repository, tag, digest } = route.reference;
  return {
    route: 'manifest',
    repository: formatRepository(repository),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Why a name is unknown is only logged: it is the cause of the error that the client gets. */
function reasonOf(failure: unknown): string {
  const logged = failure instanceof UnknownNameError && failure.cause instanceof Error ? failure.cause : failure;
  return logged instanceof Error ? logged.message : 'unknown';
}
