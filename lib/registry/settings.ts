import { UnknownNameError } from '../errors/cache-error.ts';
import type { Platform } from '../oci/platform.ts';
import { globs } from '../reference/globs.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';

/** Where a registry's credentials come from. */
export type CredentialSource =
  | { readonly kind: 'none' }
  /** Docker's `config.json`: `auths`, `credHelpers`, `credsStore`, identity tokens. */
  | { readonly kind: 'docker' }
  /** AWS Secrets Manager: JSON `{"username", "password"}` or `{"identityToken"}`. */
  | { readonly kind: 'secret'; readonly secretId: string }
  /** Tokens of Amazon ECR, 12 h; optionally through another account's role. */
  | { readonly kind: 'ecr'; readonly roleArn?: string; readonly externalId?: string };

/** One registry of the configuration, checked and with its defaults filled in. */
export interface RegistrySettings {
  /** Canonical: `docker.io`, `registry.example.test:5000`. */
  readonly name: string;
  /** Where it is dialled. `http:` is allowed exactly because it was written down. */
  readonly endpoint: URL;
  /**
   * Whether the endpoint may be at a private address (I8): because the configuration wrote it down, or because it is Amazon ECR's own, which resolves
   * to private addresses behind a VPC endpoint. False for an endpoint made of the registry's name: DNS alone must not lead us into a private network.
   */
  readonly endpointMayBePrivate: boolean;
  /**
   * Tried before the endpoint, in order; left on connection errors and 5xx. Not asked while the registry is read with credentials: a mirror never sees
   * them, so what it gives does not prove that they may read it (I9).
   */
  readonly mirrors: readonly URL[];
  /** Whether anyone on the internet can have what it and its mirrors give without credentials (I9). */
  readonly isPublic: boolean;
  readonly credentials: CredentialSource;
  /** Token realms beyond I7's defaults: hosts, `host:port`, or https origins. */
  readonly realms: readonly string[];
  /** Hosts or CIDR ranges that blob redirects and realms may lead to although they are private; `http://host:port` allows plain HTTP there. */
  readonly redirects: readonly string[];
  /** Hosts (`cdn.example.test`, `*.cdn.example.test`) of blob redirects that clients may be sent to themselves; empty: none. */
  readonly passRedirects: readonly string[];
  /** Glob patterns of repositories (`team/**`); empty allows all. */
  readonly allow: readonly string[];
  /** Platforms when a request names none; empty means all. */
  readonly platforms: readonly Platform[];
  readonly alias?: string;
  /** PEM, beside the system's roots. */
  readonly ca?: string;
  readonly proxy?: URL;
  /** Connections to one origin, for blobs that are read, and as many for everything else. */
  readonly maxConnections: number;
}

/** What bounds every conversation with an upstream. */
export interface UpstreamLimits {
  readonly manifestBytes: number;
  /** Redirects followed for one request. */
  readonly redirects: number;
  /** Tries of one request, the first included. */
  readonly attempts: number;
  /** Longest wait that a `Retry-After` may ask for; above it the request fails at once. */
  readonly retryAfterMaxMs: number;
  readonly connectTimeoutMs: number;
  /** From the request to its headers. */
  readonly headersTimeoutMs: number;
  /** Between two chunks of a body. */
  readonly bodyTimeoutMs: number;
  /** Reconnects of one blob in a row that brought no byte. */
  readonly stalls: number;
}

/** What progresses at this pace is never given up, documents and blobs alike. */
export const LEAST_BYTES_PER_SECOND = 256 * 1024;

/** The least that a blob must come with. A copier holds the blob's claim and a place among the copies, so a slower one has to give both back. */
export interface Pace {
  /** Counted while we wait for the upstream, reconnects included; a slow consumer costs nothing of it. */
  readonly windowMs: number;
  /** Less than this within a window is too slow. */
  readonly leastBytes: number;
}

const PACE_WINDOW_MS = 60_000;

/** What every blob must keep; `patience` is a factor for one that was too slow before, and would else begin anew each time. */
export const paceOf = (patience = 1): Pace => ({
  windowMs: PACE_WINDOW_MS * patience,
  leastBytes: ((PACE_WINDOW_MS * patience) / 1000) * LEAST_BYTES_PER_SECOND,
});

/** How a blob is asked for. */
export interface BlobReading {
  readonly pace?: Pace;
  /** The bytes that came before were wrong: they are asked for once more, of the registry itself, and without a coding that was taken for a label. */
  readonly again?: boolean;
}

/** Whether the rules of the registry allow the repository, by its path. */
export function allowOf({ allow }: Pick<RegistrySettings, 'allow'>): (path: string) => boolean {
  return allow.length === 0 ? () => true : globs(allow);
}

/**
 * Gives the settings of a repository's registry, if it is configured and allows that repository. Sends no request.
 *
 * The rule throws UnknownNameError otherwise, saying what to write into the configuration.
 */
export function allowRule(
  registries: ReadonlyMap<string, RegistrySettings>,
): (repository: Repository) => RegistrySettings {
  const allowed = new Map<string, (path: string) => boolean>();
  return (repository) => {
    const settings = registries.get(repository.registry);
    if (settings === undefined) throw unknownRegistry(repository, registries);
    const allows = allowed.get(settings.name) ?? allowOf(settings);
    allowed.set(settings.name, allows);
    if (allows(repository.path)) return settings;
    throw new UnknownNameError(
      `repository ${formatRepository(repository)} is not allowed: it matches none of ${JSON.stringify(settings.allow)}, the "allow" of registry ${repository.registry}`,
    );
  };
}

function unknownRegistry(repository: Repository, registries: ReadonlyMap<string, RegistrySettings>): UnknownNameError {
  const known = [...registries.keys()].join(', ');
  return new UnknownNameError(
    `registry ${repository.registry} is not configured (configured: ${known === '' ? 'none' : known}); to pull ${formatRepository(repository)}, write ${JSON.stringify(repository.registry)}, and every other registry you want, under "registries" of the configuration file: it replaces the built-in list`,
  );
}

/** URLs of CDNs hold signatures; the doors of AWS let about 10,000 bytes of headers through. */
const MOST_URL_CHARACTERS = 8_000;

/**
 * Why no client may be sent to `url` itself, in words; undefined where one may be, as far as the URL alone tells: https at its own port, without user and
 * password, at a host that `passRedirects` of the registry names. Whether that host is public is for whoever can resolve it to say.
 */
export function objectionTo(url: URL, passRedirects: readonly string[]): string | undefined {
  if (url.protocol !== 'https:') return 'is not encrypted by https';
  if (url.username !== '' || url.password !== '') return 'holds a user name or password';
  if (url.port !== '') return 'is not at the port of https';
  if (url.href.length > MOST_URL_CHARACTERS) return `has more than ${MOST_URL_CHARACTERS} characters`;
  if (passRedirects.some((entry) => names(entry, url.hostname))) return undefined;
  return `"passRedirects" of the registry does not name; add ${JSON.stringify(url.hostname)} if clients may be sent there`;
}

/** `*.cdn.example.test` names what has one label before the rest, as in a certificate; anything else names itself. */
function names(entry: string, host: string): boolean {
  if (!entry.startsWith('*.')) return entry === host;
  const rest = entry.slice(1);
  const label = host.slice(0, -rest.length);
  return host.endsWith(rest) && label !== '' && !label.includes('.');
}

/** https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, with FIPS and dual-stack names. */
const ECR_HOST =
  /^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$/;

/** The account and region of a private ECR registry by its host, or undefined if it is none. */
export function parseEcrHost(host: string): { readonly accountId: string; readonly region: string } | undefined {
  const [, accountId, region] = ECR_HOST.exec(host) ?? [];
  return accountId === undefined || region === undefined ? undefined : { accountId, region };
}
