import type { Platform } from '../oci/platform.ts';

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
