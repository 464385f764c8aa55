import type { DeploymentDocument } from '../http/control/deployment.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { parseManifest } from '../oci/manifest.ts';
import { formatReference, formatRepository, parseReference, type Repository } from '../reference/reference.ts';
import { documentOf, shown } from './api-checks.ts';
import { must, SkipError } from './check.ts';
import { askExactly, type ExactAnswer, type ExactCall, exactHeader } from './exact-http.ts';
import { askApi, type Target } from './target.ts';

/** The image of `--image`, as the registry endpoint names it. */
export interface AskedImage {
  readonly repository: Repository;
  /** The repository as a part of paths: `docker.io/library/alpine`. */
  readonly name: string;
  /** Its digest if that was given, else its tag. */
  readonly pointer: string;
}

/** The manifest of one platform of the image, complete in the cache. */
export interface CompleteManifest {
  readonly digest: Digest;
  /** Usually the smallest of its blobs. */
  readonly config: Descriptor;
}

/** The registry endpoint, and what the checks need to ask it. */
export interface RegistryFixture extends AsyncDisposable {
  readonly target: Target;
  readonly deployment: DeploymentDocument;
  /** Without a login. */
  askAnonymously(call: ExactCall, signal: AbortSignal): Promise<ExactAnswer>;
  /** As the operator, with a login if the endpoint needs one. @throws SkipError if there is no login or no answer. */
  ask(call: ExactCall, signal: AbortSignal): Promise<ExactAnswer>;
  /** A new login: the value of `Authorization`, a secret. @throws SkipError if the deployment issues none. */
  newLogin(signal: AbortSignal): Promise<string>;
  /** @throws SkipError without --image. */
  image(): AskedImage;
  /** @throws SkipError without --image, or if no platform of it is complete. */
  completeManifest(signal: AbortSignal): Promise<CompleteManifest>;
}

/** API Gateway gives up after 30 s: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const ANSWER_MS = 30_000;
/** Longer than all checks take together. */
const LOGIN_SECONDS = 1_800;
const MANIFEST_LIMITS = { fanOut: 1_000 };

/** @returns SkipError if the deployment or its registry endpoint is not known. */
export function openRegistryFixture(target: Target): RegistryFixture | SkipError {
  const { deployment } = target;
  if (deployment instanceof SkipError) return deployment;
  const origin = originOf(target, deployment);
  if (origin instanceof SkipError) return origin;
  const askAnonymously = asker(origin);
  const newLogin = (signal: AbortSignal): Promise<string> => requestLogin(target, signal);
  const login = memoized(newLogin, 'no password was issued: see registry-login');
  const ask = async (call: ExactCall, signal: AbortSignal): Promise<ExactAnswer> => {
    if (deployment.serve.auth === 'none') return await askAnonymously(call, signal);
    const authorization = await login(signal);
    return withoutLogin(
      await askAnonymously({ ...call, headers: { ...call.headers, authorization } }, signal),
      authorization,
    );
  };
  const fixture: RegistryFixture = {
    target,
    deployment,
    askAnonymously,
    ask,
    newLogin,
    image: () => imageOf(target),
    completeManifest: (signal) => findComplete(target, fixture, signal),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return fixture;
}

/** Scheme, host and port of the registry endpoint. */
function originOf({ url, registryUrl }: Target, { serve: { front } }: DeploymentDocument): URL | SkipError {
  if (registryUrl !== undefined) return new URL(registryUrl);
  if (front === 'alb') {
    return new SkipError(
      'serve.front is alb: give --registry-url with the name that clients pull from, on a machine that reaches its network',
    );
  }
  const base = new URL(url);
  if (base.pathname === '/') return base;
  return new SkipError('--url has a path, but clients use the root of a host: give --registry-url');
}

/** Sends requests to the endpoint. If the first one gets no answer, all further ones are skipped at once. */
function asker(origin: URL): (call: ExactCall, signal: AbortSignal) => Promise<ExactAnswer> {
  let state: 'unknown' | 'answers' | 'silent' = 'unknown';
  return async (call, signal) => {
    if (state === 'silent') throw new SkipError(`${origin.host} did not answer the first time`);
    try {
      const answer = await askExactly(origin, call, AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]));
      state = 'answers';
      return answer;
    } catch (error) {
      if (state === 'unknown') state = 'silent';
      throw error;
    }
  };
}

/** Calls `get` once for all checks. If it fails, they are skipped because of `why`, or of its own SkipError. */
function memoized<T>(get: (signal: AbortSignal) => Promise<T>, why: string): (signal: AbortSignal) => Promise<T> {
  let result: Promise<T> | undefined;
  return async (signal) => {
    result ??= get(signal);
    try {
      return await result;
    } catch (error) {
      throw error instanceof SkipError ? error : new SkipError(why, { cause: error });
    }
  };
}

async function requestLogin(target: Target, signal: AbortSignal): Promise<string> {
  const body = JSON.stringify({ lifetimeSeconds: LOGIN_SECONDS });
  const answer = await askApi(target, { method: 'POST', path: '/v1/token', body }, signal);
  if (answer.status === 404) {
    throw new SkipError('POST /v1/token answered 404: the deployment has no secret to sign passwords with');
  }
  // An answer that may hold the password is not shown.
  must(
    answer.status === 200,
    answer.status < 300 ? `POST /v1/token: ${answer.status}` : `POST /v1/token: ${shown(answer)}`,
  );
  const { username, password } = documentOf(answer);
  must(
    typeof username === 'string' && typeof password === 'string' && password !== '',
    'POST /v1/token did not answer with a password',
  );
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Without the login in its headers: a failed check prints them. */
function withoutLogin(answer: ExactAnswer, authorization: string): ExactAnswer {
  const encoded = authorization.replace(/^Basic /, '');
  const [, password = ''] = /^[^:]*:(.*)$/.exec(Buffer.from(encoded, 'base64').toString('utf8')) ?? [];
  const hidden = (line: string): string => line.replaceAll(encoded, '[login]').replaceAll(password, '[password]');
  const headers = Object.entries(answer.headers).map(([name, lines]) => [name, lines.map(hidden)] as const);
  return { ...answer, headers: Object.fromEntries(headers) };
}

function imageOf({ image }: Target): AskedImage {
  if (image === undefined) throw new SkipError('give --image with an image to pull');
  const { repository, tag, digest } = parseReference(image);
  return { repository, name: formatRepository(repository), pointer: digest ?? tag ?? 'latest' };
}

/** Asks the control API what is complete: a request to the registry endpoint could start a pull. */
async function findComplete(target: Target, fixture: RegistryFixture, signal: AbortSignal): Promise<CompleteManifest> {
  const { name } = fixture.image();
  const reference = formatReference(parseReference(target.image ?? ''));
  const answer = await askApi(target, { path: `/v1/images?reference=${encodeURIComponent(reference)}` }, signal);
  const { platforms = [] } = documentOf(answer) as {
    platforms?: readonly { platform?: string; digest?: string; complete?: boolean }[];
  };
  const complete = platforms.filter((one) => one.complete === true);
  const { digest = '' } = complete.find(({ platform }) => platform !== 'unknown') ?? complete[0] ?? {};
  if (!isDigest(digest)) throw new SkipError(`no platform of ${reference} is complete in the cache: see pull-workflow`);
  const path = `/v2/${name}/manifests/${digest}`;
  const manifest = await fixture.ask({ path }, signal);
  must(manifest.status === 200, `GET ${path}: ${answeredStatus(manifest)}`);
  must(digestOf(manifest.bytes, algorithmOf(digest)) === digest, `GET ${path} returns content with another digest`);
  const content = parseManifest(manifest.bytes, exactHeader(manifest, 'content-type'), MANIFEST_LIMITS);
  if (content.kind === 'index' || content.config === undefined) {
    throw new SkipError(`${digest} of ${reference} has no config`);
  }
  return { digest, config: content.config };
}

/** Whether the function answered, and not API Gateway or the load balancer. */
export const isOurs = ({ headers }: ExactAnswer): boolean => headers['docker-distribution-api-version'] !== undefined;

/** Status and code only: the text of an answer may repeat secrets of the request. */
export function answeredStatus(answer: ExactAnswer): string {
  const { errors } = documentOf({ text: answer.bytes.toString('utf8') });
  const [error] = Array.isArray(errors) ? (errors as readonly { code?: unknown }[]) : [];
  const code = typeof error?.code === 'string' && /^[A-Z_]{1,40}$/.test(error.code) ? ` ${error.code}` : '';
  return `${answer.status}${code}${isOurs(answer) ? '' : ', not by the function'}`;
}
