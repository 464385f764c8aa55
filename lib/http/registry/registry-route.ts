import { InvalidNameError, ManifestUnknownError, UnknownNameError } from '../../errors/cache-error.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import {
  isTag,
  type KnownRegistries,
  parseReference,
  parseRegistry,
  type Reference,
  registryOfPart,
  type Repository,
} from '../../reference/reference.ts';
import { clientText } from '../../telemetry/logger.ts';
import { HttpError } from '../problem.ts';

/** One request of the pull API: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints */
export type RegistryRoute =
  | { readonly kind: 'ping' }
  /** The repositories of one registry, or of all. */
  | { readonly kind: 'catalog'; readonly registry?: string }
  | { readonly kind: 'manifest'; readonly reference: Reference }
  | { readonly kind: 'blob'; readonly repository: Repository; readonly digest: Digest }
  | { readonly kind: 'tags'; readonly repository: Repository }
  | { readonly kind: 'referrers'; readonly repository: Repository; readonly digest: Digest };

const MAX_PATH_CHARACTERS = 1_024;
/** The characters of names, tags and digests. Transports decode paths differently, so nothing that could be decoded passes. */
const PATH = /^[A-Za-z0-9._:/[\]-]*$/;
/** Some clients escape the colon of a digest, which is allowed. */
const COLON = /%3a/gi;
const CONTENT = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/([^/]+)$/;
const TAGS = /^\/v2\/(.+)\/tags\/list$/;

/** Whether the path is of the distribution API. */
export const isRegistryPath = (path: string): boolean => path === '/v2' || path.startsWith('/v2/');

/**
 * The route of a request whose path is {@link isRegistryPath}. The registry is a key of the configuration, never an address: from `?ns=` (containerd) if given;
 * else the first part of the name, where that is a configured registry or an alias; else Docker Hub.
 *
 * @throws InvalidNameError, InvalidDigestError; ManifestUnknownError for an invalid tag; UnknownNameError for a registry that is not configured; HttpError 405.
 */
export function registryRoute(
  method: string,
  rawPath: string,
  query: URLSearchParams,
  registries: KnownRegistries,
): RegistryRoute {
  const isLong = rawPath.length > MAX_PATH_CHARACTERS;
  const path = rawPath.slice(0, MAX_PATH_CHARACTERS).replace(COLON, ':');
  if (method !== 'GET' && method !== 'HEAD') {
    throw new HttpError(405, `this cache is read only: ${JSON.stringify(method.slice(0, 20))} is not supported`, {
      code: 'UNSUPPORTED',
      headers: { allow: 'GET, HEAD' },
    });
  }
  if (path === '/v2' || path === '/v2/') return { kind: 'ping' };
  if (isLong || !PATH.test(path)) {
    throw new InvalidNameError('the path is too long, or has characters that no name, tag or digest has');
  }
  if (path === '/v2/_catalog') return { kind: 'catalog', ...namespaceOf(query, registries) };
  const [, listed] = TAGS.exec(path) ?? [];
  if (listed !== undefined) return { kind: 'tags', repository: repositoryOf(listed, query, registries) };
  const [, name, kind, last] = CONTENT.exec(path) ?? [];
  if (name === undefined || last === undefined) {
    throw new HttpError(405, 'this is not a request of the pull API', { code: 'UNSUPPORTED' });
  }
  const repository = repositoryOf(name, query, registries);
  if (kind === 'blobs') return { kind: 'blob', repository, digest: parseDigest(last) };
  if (kind === 'referrers') return { kind: 'referrers', repository, digest: parseDigest(last) };
  const reference = last.includes(':') ? { repository, digest: parseDigest(last) } : { repository, tag: tagOf(last) };
  return { kind: 'manifest', reference };
}

/** An invalid tag is a manifest that does not exist: the specification's conformance suite expects that, and registries do it. */
function tagOf(text: string): string {
  const named: unknown = text;
  if (isTag(named)) return named;
  throw new ManifestUnknownError(`there is no ${JSON.stringify(text.slice(0, 200))}: it is not a valid tag`);
}

function repositoryOf(name: string, query: URLSearchParams, registries: KnownRegistries): Repository {
  const { registry } = namespaceOf(query, registries);
  if (registry !== undefined) return inRegistry(registry, name);
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const prefixed = first === '' ? undefined : find(first, registries);
  if (prefixed !== undefined) return inRegistry(prefixed, name.slice(slash + 1));
  // It looks like a registry, but is not configured: it must not become a repository of Docker Hub.
  if (/[.:[\]]/.test(first) || first === 'localhost') throw unknownName(notConfigured(first));
  return inRegistry(known('docker.io', registries), name);
}

/** The registry that containerd names in the query. */
function namespaceOf(query: URLSearchParams, registries: KnownRegistries): { readonly registry?: string } {
  const namespaces = query.getAll('ns');
  if (namespaces.length > 1) throw new InvalidNameError('"ns" is given twice; give it once');
  const [namespace] = namespaces;
  return namespace === undefined ? {} : { registry: known(parseRegistry(namespace), registries) };
}

/** By its alias, its name as in references, or its name with "_" before the port. */
function find(first: string, registries: KnownRegistries): string | undefined {
  const named = registryOfPart(first, registries);
  if (named !== undefined) return named;
  if (!/[.:[\]]/.test(first) && first !== 'localhost') return undefined;
  const name = parseRegistry(first);
  return registries.has(name) ? name : undefined;
}

function known(name: string, registries: KnownRegistries): string {
  if (registries.has(name)) return name;
  throw unknownName(notConfigured(name));
}

const notConfigured = (registry: string): string => `the registry ${registry} is not in the configuration`;

/**
 * The same message whether the registry is not configured or the principal may not see it.
 *
 * @param why only for the log
 */
export const unknownName = (why: string): UnknownNameError =>
  new UnknownNameError('this repository is not known to the cache', new Error(clientText(why)));

/** Normalised like every reference: `alpine` of Docker Hub is `library/alpine`. */
const inRegistry = (registry: string, path: string): Repository => parseReference(`${registry}/${path}:any`).repository;

/** Redirects to ourselves for one blob: most clients follow ten in all, and the last leads to S3. */
export const MAX_HOPS = 8;
const LIFETIME_MS = 60_000;

/**
 * How often the client that sends `token` was redirected to us. 0 where it is missing, malformed, or expired (of a redirect that the client kept). It is not
 * signed: a client that changes it starts its wait anew, which it may always do, or ends it.
 */
export function hopsOf(token: string | undefined): number {
  const [, count = '0', untilMs = '0'] = /^([1-9])\.(\d{13})$/.exec(token ?? '') ?? [];
  return Number(untilMs) < Date.now() ? 0 : Number(count);
}

/** The token of the next redirect. */
export const nextHop = (count: number): string => `${count + 1}.${Date.now() + LIFETIME_MS}`;
