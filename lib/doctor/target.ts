import * as z from 'zod/mini';
import { ConfigError, InvalidRequestError } from '../errors/cache-error.ts';
import type { DeploymentDocument } from '../http/control/deployment.ts';
import { redacted } from '../telemetry/logger.ts';
import { describe, SkipError } from './check.ts';
import type { HttpAnswer, Requests } from './sigv4-requests.ts';

/** A request to the control API. */
export interface OperatorCall {
  readonly method?: 'GET' | 'POST' | 'DELETE' | 'HEAD';
  /** With query, exactly as it is sent: `/v1/images?limit=1`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Sent without signature and token. */
  readonly anonymous?: true;
}

/** The deployment that is checked. */
export interface Target {
  /** URL of its API: `https://…`, without `/v1`. */
  readonly url: string;
  /** Whether it is the embedded stack on this machine. */
  readonly isLocal: boolean;
  readonly region: string;
  readonly requests: Requests;
  /** A token instead of signatures, for an API that takes JWTs. */
  readonly token?: string;
  /** An image to pull. */
  readonly image?: string;
  /** URL of the registry endpoint if it differs from the API: `https://…`. */
  readonly registryUrl?: string;
  /** Its own description, or why that is not known. */
  readonly deployment: DeploymentDocument | SkipError;
}

/** The limit of API Gateway: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const ANSWER_MS = 30_000;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const EXECUTE_API = /\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/;

/**
 * The base of the API that a user names: without `/v1` and a final slash.
 *
 * @throws InvalidRequestError
 */
export function parseApiUrl(text: string): URL {
  const url = parseAddress('--url', text, 'https://<id>.execute-api.<region>.amazonaws.com');
  url.pathname = url.pathname.replace(/(?:\/v1)?\/*$/, '');
  return url;
}

/**
 * The host of the registry endpoint that a user names, with or without `/v2`. No other path: clients add `/v2` to a host.
 *
 * @throws InvalidRequestError
 */
export function parseRegistryUrl(text: string): URL {
  const [option, example] = ['--registry-url', 'https://<the name that clients pull from>'];
  const url = parseAddress(option, text, example);
  if (!/^\/(?:v2\/*)?$/.test(url.pathname)) refuse(option, text, 'has a path', example);
  url.pathname = '';
  return url;
}

function parseAddress(option: string, text: string, example: string): URL {
  const url = URL.parse(text) ?? refuse(option, text, 'is not a URL', example);
  if (url.username !== '' || url.password !== '') refuse(option, text, 'holds credentials', example);
  if (url.search !== '' || url.hash !== '') refuse(option, text, 'has a query', example);
  const isPrivate = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackUrl(url));
  return isPrivate ? url : refuse(option, text, 'is not https', example);
}

function refuse(option: string, text: string, why: string, example: string): never {
  throw new InvalidRequestError(option, `${option} ${JSON.stringify(redacted(text))} ${why}; write ${example}`);
}

export const isLoopbackUrl = (url: URL): boolean => LOOPBACK.test(url.hostname);

/** The region in a host name of API Gateway; undefined for a custom domain. */
export const regionOf = (url: URL): string | undefined => EXECUTE_API.exec(url.hostname)?.[1];

/** Asks the control API as the operator. */
export function askApi(
  target: Omit<Target, 'deployment'>,
  call: OperatorCall,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const { method = 'GET', path, headers = {}, body, anonymous } = call;
  const http = {
    method,
    url: new URL(`${target.url}${path}`),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body }),
  };
  const { requests, token } = target;
  if (anonymous === true) return requests.plain(http, signal);
  if (token === undefined) return requests.signed('execute-api', http, signal);
  return requests.plain({ ...http, headers: { ...http.headers, authorization: `Bearer ${token}` } }, signal);
}

/** What docs/openapi.json says, as far as it is used here. Anything may answer at the URL. */
const deploymentSchema = z.object({
  version: z.string(),
  region: z.nullable(z.string()),
  stage: z.nullable(z.string()),
  bucket: z.string(),
  table: z.string(),
  stateMachine: z.nullable(z.string()),
  bus: z.nullable(z.string()),
  serve: z.object({
    front: z.enum(['httpApi', 'alb']),
    auth: z.enum(['none', 'basic']),
    blobEndpoint: z.nullable(z.string()),
  }),
  caller: z.string(),
});

/**
 * The deployment's own description, or why that is not known.
 *
 * @throws ConfigError if there is no answer, or no credentials: then no check can run. The reason of the signal.
 */
export async function readDeployment(
  target: Omit<Target, 'deployment'>,
  signal: AbortSignal,
): Promise<DeploymentDocument | SkipError> {
  const unknown = (why: string): SkipError => new SkipError(`GET /v1/deployment ${why}`);
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const { status, text } = await askApi(target, { path: '/v1/deployment' }, limit);
    if (status !== 200) return unknown(`answered ${status}`);
    const { success, data } = deploymentSchema.safeParse(JSON.parse(text));
    return success ? data : unknown('did not answer with the description of a deployment');
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SyntaxError) return unknown('did not answer with JSON');
    throw unreachable(error, target.url);
  }
}

function unreachable(error: unknown, url: string): ConfigError {
  if (error instanceof Error && error.name === 'CredentialsProviderError') {
    return new ConfigError(
      'no AWS credentials were found, and every check needs them; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
      error,
    );
  }
  const why =
    error instanceof DOMException && error.name === 'TimeoutError'
      ? `timed out after ${ANSWER_MS / 1000} s`
      : describe(error);
  return new ConfigError(`${url} does not answer, and every check needs it: ${why}; check --url`, error);
}
