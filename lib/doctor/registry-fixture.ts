import type { DeploymentDocument } from '../http/control/deployment.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts';
import { parseManifest } from '../oci/manifest.ts';
import { formatReference, formatRepository, parseReference, type Repository } from '../reference/reference.ts';
import { documentOf, shown } from './api-checks.ts';
import { must, SkipError } from './check.ts';
import { askExactly, type ExactAnswer, type ExactCall, headerOf } from './exact-http.ts';
import { askApi, type Target } from './target.ts';

/** The image of `--image`, as it is asked for at the registry endpoint. */
export interface AskedImage {
  readonly repository: Repository;
  /** The repository as a part of paths: `docker.io/library/alpine`. */
  readonly name: string;
  /** Its tag, or its digest where that was given. */
  readonly pointer: string;
}

/** A manifest of the image, of one platform, that is complete in the cache. */
export interface CompleteManifest {
  readonly digest: Digest;
  /** The smallest of its blobs, mostly. */
  readonly config: Descriptor;
}

/** The registry endpoint, asked over one door. */
export interface RegistryFixture extends AsyncDisposable {
  readonly target: Target;
  readonly deployment: DeploymentDocument;
  /** As nobody: without a login. */
  askAsNobody(call: ExactCall, signal: AbortSignal): Promise<ExactAnswer>;
  /** As the operator, with a login where one is asked for. @throws SkipError where none could be had, or nobody answers there. */
  ask(call: ExactCall, signal: AbortSignal): Promise<ExactAnswer>;
  /** A login that is new: the value of `Authorization`, a secret. @throws SkipError where the deployment signs none. */
  mint(signal: AbortSignal): Promise<string>;
  /** @throws SkipError where none was named. */
  image(): AskedImage;
  /** @throws SkipError where none is complete, or none was named. */
  completeManifest(signal: AbortSignal): Promise<CompleteManifest>;
}

/** API Gateway gives up after 30 s: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const ANSWER_MS = 30_000;
/** Longer than all checks take together. */
const LOGIN_SECONDS = 1_800;
const MANIFEST_LIMITS = { fanOut: 1_000 };

/** @returns why, where it is not known what to ask, or where. */
export function openRegistryFixture(target: Target): RegistryFixture | SkipError {
  const { deployment } = target;
  if (deployment instanceof SkipError) return deployment;
  const origin = originOf(target, deployment);
  if (origin instanceof SkipError) return origin;
  const askAsNobody = asker(origin);
  const mint = (signal: AbortSignal): Promise<string> => mintLogin(target, signal);
  const login = onceHad(mint, 'no password was minted: see registry-login');
  const ask = async (call: ExactCall, signal: AbortSignal): Promise<ExactAnswer> => {
    if (deployment.serve.auth === 'none') return await askAsNobody(call, signal);
    const authorization = await login(signal);
    return withoutLogin(
      await askAsNobody({ ...call, headers: { ...call.headers, authorization } }, signal),
      authorization,
    );
  };
  const scene: RegistryFixture = {
    target,
    deployment,
    askAsNobody,
    ask,
    mint,
    image: () => imageOf(target),
    completeManifest: (signal) => findComplete(target, scene, signal),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return scene;
}

/** Scheme, host and port of the registry endpoint. */
function originOf({ url, registryUrl }: Target, { serve: { front } }: DeploymentDocument): URL | SkipError {
  if (registryUrl !== undefined) return new URL(registryUrl);
  if (front === 'alb') {
    return new SkipError(
      'serve.front is alb: give --registry-url with the name that clients pull from, where its network is reached',
    );
  }
  const base = new URL(url);
  if (base.pathname === '/') return base;
  return new SkipError('clients ask at the root of a host, and --url has a path: give --registry-url');
}

/** Asks at the door. Who finds nobody there waits for it once, and not in each check. */
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

/** What `get` gave the first time, for all checks; once it failed they are skipped for `why`, or for its own reason. */
function onceHad<T>(get: (signal: AbortSignal) => Promise<T>, why: string): (signal: AbortSignal) => Promise<T> {
  let had: Promise<T> | undefined;
  return async (signal) => {
    had ??= get(signal);
    try {
      return await had;
    } catch (error) {
      throw error instanceof SkipError ? error : new SkipError(why, { cause: error });
    }
  };
}

async function mintLogin(target: Target, signal: AbortSignal): Promise<string> {
  const body = JSON.stringify({ lifetimeSeconds: LOGIN_SECONDS });
  const answer = await askApi(target, { method: 'POST', path: '/v1/token', body }, signal);
  if (answer.status === 404) {
    throw new SkipError('POST /v1/token answered 404: the deployment has no secret to sign passwords with');
  }
  // Of an answer that may hold the password nothing is shown.
  must(
    answer.status === 200,
    answer.status < 300 ? `POST /v1/token: ${answer.status}` : `POST /v1/token: ${shown(answer)}`,
  );
  const { username, password } = documentOf(answer);
  must(
    typeof username === 'string' && typeof password === 'string' && password !== '',
    'POST /v1/token answered something else than a password',
  );
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Headers are shown where they are not as they must be: nobody has us print what we logged in with. */
function withoutLogin(answer: ExactAnswer, authorization: string): ExactAnswer {
  const encoded = authorization.replace(/^Basic /, '');
  const [, password = ''] = /^[^:]*:(.*)$/.exec(Buffer.from(encoded, 'base64').toString('utf8')) ?? [];
  const hidden = (line: string): string => line.replaceAll(encoded, '[login]').replaceAll(password, '[password]');
  const headers = Object.entries(answer.headers).map(([name, lines]) => [name, lines.map(hidden)] as const);
  return { ...answer, headers: Object.fromEntries(headers) };
}

function imageOf({ image }: Target): AskedImage {
  if (image === undefined) throw new SkipError('give --image with an image that may be pulled');
  const { repository, tag, digest } = parseReference(image);
  return { repository, name: formatRepository(repository), pointer: digest ?? tag ?? 'latest' };
}

/** The control API knows what is complete: to ask the registry endpoint for another platform would bring that into the cache. */
async function findComplete(target: Target, scene: RegistryFixture, signal: AbortSignal): Promise<CompleteManifest> {
  const { name } = scene.image();
  const reference = formatReference(parseReference(target.image ?? ''));
  const answer = await askApi(target, { path: `/v1/images?reference=${encodeURIComponent(reference)}` }, signal);
  const { platforms = [] } = documentOf(answer) as {
    platforms?: readonly { platform?: string; digest?: string; complete?: boolean }[];
  };
  const complete = platforms.filter((one) => one.complete === true);
  const { digest = '' } = complete.find(({ platform }) => platform !== 'unknown') ?? complete[0] ?? {};
  if (!isDigest(digest)) throw new SkipError(`no platform of ${reference} is complete in the cache: see pull-workflow`);
  const path = `/v2/${name}/manifests/${digest}`;
  const manifest = await scene.ask({ path }, signal);
  must(manifest.status === 200, `GET ${path}: ${told(manifest)}`);
  must(
    digestOf(manifest.bytes, algorithmOf(digest)) === digest,
    `GET ${path} gives something else than the digest says`,
  );
  const content = parseManifest(manifest.bytes, headerOf(manifest, 'content-type'), MANIFEST_LIMITS);
  if (content.kind === 'index' || content.config === undefined) {
    throw new SkipError(`${digest} of ${reference} has no config to ask for`);
  }
  return { digest, config: content.config };
}

/** Whether the function answered, and not the door by itself. */
export const isOurs = ({ headers }: ExactAnswer): boolean => headers['docker-distribution-api-version'] !== undefined;

/** Status and code: no words of the answer, which may repeat what it was asked with. */
export function told(answer: ExactAnswer): string {
  const { errors } = documentOf({ text: answer.bytes.toString('utf8') });
  const [error] = Array.isArray(errors) ? (errors as readonly { code?: unknown }[]) : [];
  const code = typeof error?.code === 'string' && /^[A-Z_]{1,40}$/.test(error.code) ? ` ${error.code}` : '';
  return `${answer.status}${code}${isOurs(answer) ? '' : ', by the door itself'}`;
}
