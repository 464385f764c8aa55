import type { Authenticator, Principal } from '../../access/principal.ts';
import { UnknownNameError } from '../../errors/cache-error.ts';
import type { Digest } from '../../oci/digest.ts';
import { OCTET_STREAM } from '../../oci/media-type.ts';
import { formatRepository, type KnownRegistries, type Repository } from '../../reference/reference.ts';
import { bringBlob, describeBlob, findBlob, type ServedBlob } from '../../serve/blob.ts';
import { openManifest, type ServedManifest } from '../../serve/manifest.ts';
import type { ServeCall, Serving } from '../../serve/serving.ts';
import { recordSent } from '../../serve/gone.ts';
import { openReferrers } from '../../serve/referrers.ts';
import { startDeadline } from '../../async/time.ts';
import {
  hopsOf,
  isRegistryPath,
  MAX_HOPS,
  nextHop,
  registryRoute,
  type RegistryRoute,
  unknownName,
} from './registry-route.ts';
import { catalogAnswer, tagsAnswer } from './list-answers.ts';
import { referrersAnswer } from './referrers-answer.ts';
import type { RegistryAnswer, ReceivedRequest, RegistryRequest, ServedAs } from './open-registry.ts';
import { errorAnswer, notFoundAnswer, registryError } from './registry-errors.ts';
import { logAnswered, type KnownOfRequest } from './request-log.ts';

/** From the arrival of a request to its answer: containerd gives up on a registry that sends no headers for 30 s. */
const MOST_SECONDS = 20;
/** Lifetime of a URL of S3; a later client asks us again. */
const BLOB_URL_SECONDS = 600;
const RETRY_BLOB_SECONDS = 5;
const MAX_QUERY_CHARACTERS = 2_048;

export interface RegistryApi {
  readonly serving: Serving;
  readonly authenticator: Authenticator;
  readonly registries: KnownRegistries;
}

/**
 * Answers one request of the distribution API: always an answer, within {@link MOST_SECONDS}, never an error. Writes one line of log.
 *
 * In this order: the API's path (404), authentication (401), the route (400, 404, 405), whether the principal may see the repository (404), the content.
 */
export async function answerRegistry(
  api: RegistryApi,
  received: ReceivedRequest,
  call: ServeCall,
): Promise<RegistryAnswer> {
  const startedMs = performance.now();
  using deadline = startDeadline(MOST_SECONDS * 1_000);
  const timed = { ...call, signal: AbortSignal.any([call.signal, deadline.signal]) };
  const known: KnownOfRequest = {};
  let answer: RegistryAnswer;
  let failure: unknown;
  try {
    answer = await admitAndAnswer(api, received, timed, known);
  } catch (error) {
    failure = error;
    answer = registryError(error, api.authenticator.challenge);
  }
  logAnswered(call, received.request, known, {
    answer,
    failure,
    durationMs: Math.round(performance.now() - startedMs),
  });
  return {
    ...answer,
    headers: { 'docker-distribution-api-version': 'registry/2.0', ...answer.headers },
  };
}

async function admitAndAnswer(
  api: RegistryApi,
  { request, limits }: ReceivedRequest,
  call: ServeCall,
  known: KnownOfRequest,
): Promise<RegistryAnswer> {
  if (!isRegistryPath(request.path)) return notFoundAnswer(request.path);
  const principal = await api.authenticator.admit(request.header('authorization'), call.signal);
  known.puller = principal.name;
  const query = new URLSearchParams(request.query.slice(0, MAX_QUERY_CHARACTERS));
  const route = registryRoute(request.method, request.path, query, api.registries);
  known.route = route;
  if (route.kind === 'ping')
    return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from('{}') };
  if (route.kind === 'catalog') {
    const mayList = (repository: Repository): boolean => hiddenBecause(api, principal, repository) === undefined;
    return await catalogAnswer(api.serving, call, request, query, { registry: route.registry, mayList });
  }
  const repository = route.kind === 'manifest' ? route.reference.repository : route.repository;
  requireVisible(api, principal, repository);
  return await answerRoute(api, { request, limits }, query, route, call);
}

/** A repository that the principal may not see is answered like one that does not exist. */
function requireVisible(api: RegistryApi, principal: Principal, repository: Repository): void {
  const reason = hiddenBecause(api, principal, repository);
  if (reason !== undefined) throw unknownName(reason);
}

/** Why the principal does not see a repository, for the log; undefined where it does. */
function hiddenBecause({ serving }: RegistryApi, principal: Principal, repository: Repository): string | undefined {
  if (!principal.mayUse(repository))
    return `access.rules do not let ${principal.name} use ${formatRepository(repository)}`;
  try {
    serving.deps.requireAllowed(repository);
    return undefined;
  } catch (error) {
    if (error instanceof UnknownNameError) return error.message;
    throw error;
  }
}

async function answerRoute(
  api: RegistryApi,
  { request, limits }: ReceivedRequest,
  query: URLSearchParams,
  route: Exclude<RegistryRoute, { kind: 'ping' | 'catalog' }>,
  call: ServeCall,
): Promise<RegistryAnswer> {
  switch (route.kind) {
    case 'manifest':
      return await manifestAnswer(api, { request, limits }, await openManifest(api.serving, call, route.reference));
    case 'blob':
      return request.method === 'HEAD'
        ? blobHead(await describeBlob(api.serving, call, route.repository, route.digest))
        : await blobAnswer(api, request, query, route.repository, route.digest, call);
    case 'tags':
      return await tagsAnswer(api.serving, call, request, query, route.repository);
    case 'referrers': {
      const artifactType = query.get('artifactType') ?? undefined;
      const served = await openReferrers(api.serving, call, route.repository, route.digest, artifactType);
      return referrersAnswer({ request, limits }, query, served);
    }
  }
}

async function manifestAnswer(
  { serving }: RegistryApi,
  { request, limits }: ReceivedRequest,
  { descriptor, bytes, warning, cache }: ServedManifest,
): Promise<RegistryAnswer> {
  const { mediaType, digest, size } = descriptor;
  if (!accepts(request.header('accept'), mediaType)) {
    // Not 404: the manifest exists, and a HEAD shows only the status.
    return errorAnswer(
      406,
      'UNSUPPORTED',
      `it is ${mediaType}, which the Accept header of the request does not name: ${String(request.header('accept')).slice(0, 300)}`,
    );
  }
  const etag = `"${digest}"`;
  const headers = {
    'content-type': mediaType,
    'docker-content-digest': digest,
    etag,
    ...(warning === undefined ? {} : { warning }),
  };
  const servedAs = { cache, bytes: size };
  if (matches(request.header('if-none-match'), etag)) return { status: 304, headers, servedAs };
  if (size <= limits.bodyBytes) return { status: 200, headers, body: bytes, servedAs };
  if (request.method === 'HEAD') {
    return { status: 200, headers: { ...headers, 'content-length': String(size) }, servedAs };
  }
  const url = await urlInStore(serving, digest, mediaType);
  return { status: 307, headers: { ...headers, location: url.href, 'cache-control': 'no-store' }, servedAs };
}

/** By the most specific range that matches the type: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1. Without the header, every type. */
function accepts(header: string | undefined, mediaType: string): boolean {
  if (header === undefined || header.trim() === '') return true;
  const ranges = new Map(
    header.split(',').map((range) => {
      const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
      return [type, !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter))] as const;
    }),
  );
  const type = mediaType.toLowerCase();
  return (
    [type, type.replace(/\/.*/, '/*'), '*/*'].map((range) => ranges.get(range)).find((one) => one !== undefined) ??
    false
  );
}

const matches = (header: string | undefined, etag: string): boolean =>
  (header ?? '').split(',').some((one) => one.trim().replace(/^W\//, '') === etag || one.trim() === '*');

const blobHeaders = ({ digest }: Pick<ServedBlob, 'digest'>) => ({
  'docker-content-digest': digest,
  etag: `"${digest}"`,
});

/** Never a redirect: S3 refuses HEAD on a URL that is signed for GET. */
const blobHead = (blob: ServedBlob): RegistryAnswer => ({
  status: 200,
  headers: {
    ...blobHeaders(blob),
    'content-type': OCTET_STREAM,
    'content-length': String(blob.size),
    'accept-ranges': 'bytes',
  },
  servedAs: { cache: blob.isMissing === true ? 'miss' : 'hit', bytes: blob.size },
});

async function blobAnswer(
  api: RegistryApi,
  request: RegistryRequest,
  query: URLSearchParams,
  repository: Repository,
  digest: Digest,
  call: ServeCall,
): Promise<RegistryAnswer> {
  const { serving } = api;
  const found = await findBlob(serving, call, repository, digest);
  if (found !== undefined) {
    call.metrics.add('Hits', 1);
    return await blobInStore(api, found, 'hit');
  }
  const hop = hopsOf(query.get('hop') ?? undefined);
  // A client that came back has waited already: the registry is not asked again.
  const brought = await bringBlob(serving, call, repository, digest, { hasWaited: hop > 0 });
  if (brought instanceof URL) return blobElsewhere(digest, brought, { cache: 'redirected' });
  if (brought !== undefined) return await blobInStore(api, brought, 'waited');
  if (hop >= MAX_HOPS) {
    // On 503 skopeo, podman and containerd stop at once. On 429 every client retries; docker only if the code is not TOOMANYREQUESTS.
    return errorAnswer(429, 'BLOB_UNKNOWN', `blob ${digest} is still being pulled; ask again in a moment`, {
      'retry-after': String(RETRY_BLOB_SECONDS),
    });
  }
  const again = new URLSearchParams(query);
  again.set('hop', nextHop(hop));
  const location = `${request.path}?${again.toString()}`;
  return { status: 307, headers: { location, 'cache-control': 'no-store' }, servedAs: { cache: 'waited' } };
}

const blobInStore = async (
  { serving }: RegistryApi,
  { digest, size: bytes }: ServedBlob,
  cache: 'hit' | 'waited',
): Promise<RegistryAnswer> => blobElsewhere(digest, await urlInStore(serving, digest), { cache, bytes });

async function urlInStore(serving: Serving, digest: Digest, contentType?: string): Promise<URL> {
  recordSent(serving, digest);
  return await serving.deps.presigner.presign(digest, {
    lifetimeSeconds: BLOB_URL_SECONDS,
    ...(contentType === undefined ? {} : { contentType }),
  });
}

const blobElsewhere = (digest: Digest, { href }: URL, servedAs: ServedAs): RegistryAnswer => ({
  status: 307,
  headers: { ...blobHeaders({ digest }), location: href, 'cache-control': 'no-store' },
  servedAs,
});
