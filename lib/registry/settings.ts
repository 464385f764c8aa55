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

/** One registry of the configuration, checked and with defaults. */
export interface RegistrySettings {
  /** Canonical: `docker.io`, `registry.example.test:5000`. */
  readonly name: string;
  /** The address to connect to. `http:` is allowed only because the configuration says so. */
  readonly endpoint: URL;
  /**
   * Whether the endpoint may have a private address (I8): it is configured, or it is Amazon ECR, which has private addresses
   * behind a VPC endpoint. False for an endpoint derived from the name: DNS alone must not lead into a private network.
   */
  readonly endpointMayBePrivate: boolean;
  /**
   * Tried before the endpoint, in order. Not used with credentials: a mirror never sees them, so its content does not prove that
   * they may read it (I9).
   */
  readonly mirrors: readonly URL[];
  /** Whether anyone on the internet can read, without credentials, what it and its mirrors serve (I9). */
  readonly isPublic: boolean;
  readonly credentials: CredentialSource;
  /** Token realms beyond I7's defaults: hosts, `host:port`, or https origins. */
  readonly realms: readonly string[];
  /** Private hosts or CIDR ranges allowed for blob redirects and realms; `http://host:port` allows plain HTTP. */
  readonly redirects: readonly string[];
  /** Hosts (`cdn.example.test`, `*.cdn.example.test`) of blob redirects that are passed to clients; empty: none. */
  readonly passRedirects: readonly string[];
  /** Glob patterns of repositories (`team/**`); empty allows all. */
  readonly allow: readonly string[];
  /** Platforms when a request names none; empty means all. */
  readonly platforms: readonly Platform[];
  readonly alias?: string;
  /** PEM, in addition to the system's roots. */
  readonly ca?: string;
  readonly proxy?: URL;
  /** Connections to one origin for reading blobs, and as many for everything else. */
  readonly maxConnections: number;
}

/** Limits of all requests to upstreams. */
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
  /** Reconnects of one blob in a row without a byte. */
  readonly stalls: number;
}

/** A document or blob that arrives at least this fast is never given up. */
export const LEAST_BYTES_PER_SECOND = 256 * 1024;

/** The minimum speed of a blob. A slower one releases its claim and its permit, which others wait for. */
export interface Pace {
  /** Counts only the time spent waiting for the upstream, including reconnects. */
  readonly windowMs: number;
  /** Fewer bytes in one window are too slow. */
  readonly leastBytes: number;
}

const PACE_WINDOW_MS = 60_000;

/** The required pace. `patience` lengthens the window for a blob that was too slow before. */
export const paceOf = (patience = 1): Pace => ({
  windowMs: PACE_WINDOW_MS * patience,
  leastBytes: ((PACE_WINDOW_MS * patience) / 1000) * LEAST_BYTES_PER_SECOND,
});

/** How to read a blob. */
export interface BlobReading {
  readonly pace?: Pace;
  /** The bytes of the last read were wrong: read from the registry itself, and trust its Content-Encoding. */
  readonly again?: boolean;
}

/** Whether the rules of the registry allow the repository, by its path. */
export function allowOf({ allow }: Pick<RegistrySettings, 'allow'>): (path: string) => boolean {
  return allow.length === 0 ? () => true : globs(allow);
}

/**
 * Returns a function that gives the settings of a repository's registry. It throws UnknownNameError, with what to configure, if
 * the registry is not configured or does not allow the repository.
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

/** API Gateway passes about 10,000 bytes of headers, and signed URLs of CDNs are long. */
const MOST_URL_CHARACTERS = 8_000;

/**
 * Why clients must not be redirected to `url`, for messages. Undefined if they may be: https on port 443, no user or password, and
 * a host in `passRedirects`. Whether the host has a public address is checked elsewhere.
 */
export function objectionTo(url: URL, passRedirects: readonly string[]): string | undefined {
  if (url.protocol !== 'https:') return 'is not encrypted by https';
  if (url.username !== '' || url.password !== '') return 'holds a user name or password';
  if (url.port !== '') return 'is not on the https port';
  if (url.href.length > MOST_URL_CHARACTERS) return `has more than ${MOST_URL_CHARACTERS} characters`;
  if (passRedirects.some((entry) => names(entry, url.hostname))) return undefined;
  return `"passRedirects" of the registry does not name; add ${JSON.stringify(url.hostname)} if clients may be sent there`;
}

/** `*.cdn.example.test` matches one label before the rest, as in certificates. Other entries match exactly. */
function names(entry: string, host: string): boolean {
  if (!entry.startsWith('*.')) return entry === host;
  const rest = entry.slice(1);
  const label = host.slice(0, -rest.length);
  return host.endsWith(rest) && label !== '' && !label.includes('.');
}

/** https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, with FIPS and dual-stack names. */
const ECR_HOST =
  /^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$/;

/** The account and region of a private ECR registry by its host; undefined for other hosts. */
export function parseEcrHost(host: string): { readonly accountId: string; readonly region: string } | undefined {
  const [, accountId, region] = ECR_HOST.exec(host) ?? [];
  return accountId === undefined || region === undefined ? undefined : { accountId, region };
}
