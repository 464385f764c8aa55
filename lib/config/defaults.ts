import { type CredentialSource, parseEcrHost } from '../registry/settings.ts';

/** The default and the range of a key of `limits`. */
export interface LimitRange {
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** The keys of `limits:` in the file. */
export const LIMITS = {
  /** One manifest or index, as received. */
  manifestBytes: { default: 4 * MIB, min: 1024, max: 32 * MIB },
  /** Indexes below indexes. */
  depth: { default: 4, min: 0, max: 16 },
  /** Descriptors in one manifest, and manifests in one tree. */
  fanOut: { default: 1000, min: 1, max: 1000 },
  /** All blobs of one pull together. */
  totalBytes: { default: 100 * GIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  /** Blobs that one pull copies at the same time. */
  parallelBlobs: { default: 4, min: 1, max: 64 },
  /** S3 refuses parts under 5 MiB, except the last one. */
  partBytes: { default: 8 * MIB, min: 5 * MIB, max: 512 * MIB },
  /** Parts of one blob in memory: with `partBytes` and `parallelBlobs` the memory of a pull. */
  windowParts: { default: 4, min: 1, max: 64 },
  /** Renewed three times within it. */
  leaseSeconds: { default: 15, min: 1, max: 900 },
  /** Tries of one request, the first included. */
  attempts: { default: 5, min: 1, max: 20 },
  /** Longest wait that a `Retry-After` may ask for. */
  retryAfterMaxSeconds: { default: 60, min: 0, max: 900 },
  redirects: { default: 5, min: 0, max: 20 },
  connectTimeoutSeconds: { default: 10, min: 1, max: 120 },
  headersTimeoutSeconds: { default: 30, min: 1, max: 600 },
  bodyTimeoutSeconds: { default: 30, min: 1, max: 600 },
  /** Reconnects of one blob in a row that brought no byte. */
  stalls: { default: 5, min: 1, max: 100 },
} as const satisfies Record<string, LimitRange>;

export type LimitName = keyof typeof LIMITS;

export const DEFAULT_MAX_CONNECTIONS = 16;
/** Where the command line keeps the state of the embedded stack. */
export const DEFAULT_HOME = '.entrepot';
export const DEFAULT_CONFIG_FILES = ['entrepot.yaml', 'entrepot.yml'] as const;

/** Endpoints of the well-known public registries, which are configured by default. lib/registry knows their token realms. */
export const KNOWN_REGISTRIES: ReadonlyMap<string, string> = new Map([
  ['docker.io', 'https://registry-1.docker.io'],
  ...[
    'ghcr.io',
    'quay.io',
    'public.ecr.aws',
    'gcr.io',
    'registry.k8s.io',
    'mcr.microsoft.com',
    'registry.gitlab.com',
    'registry.access.redhat.com',
    'docker.elastic.co',
    'nvcr.io',
    'cgr.dev',
    'lscr.io',
  ].map((name): [string, string] => [name, `https://${name}`]),
]);

/** Origins that anyone can read without credentials: the well-known registries, and Google's mirror of Docker Hub. */
export const PUBLIC_ORIGINS: ReadonlySet<string> = new Set([...KNOWN_REGISTRIES.values(), 'https://mirror.gcr.io']);

/** The default credentials of a registry: ECR's own for ECR, else Docker's on a workstation and none on AWS. */
export function defaultCredentials(registry: string, onAws: boolean): CredentialSource {
  if (parseEcrHost(registry) !== undefined) return { kind: 'ecr' };
  return { kind: onAws ? 'none' : 'docker' };
}
