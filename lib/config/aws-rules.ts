import { isOwnMachine } from '../registry/address.ts';
import type { RegistrySettings } from '../registry/settings.ts';
import type { ServeSettings } from '../serve/settings.ts';
import { KNOWN_REGISTRIES } from './defaults.ts';
import type { Problems } from './problems.ts';

/** One registry of the file, unchecked, so that these problems are reported with the others of its section. */
export interface RegistrySection {
  readonly key: string;
  /** The canonical name if the key is valid. */
  readonly name: string;
  readonly section: unknown;
  /** The credentials if the section has none. */
  readonly defaultCredentials: RegistrySettings['credentials']['kind'];
}

/**
 * Further rules for the cache on AWS:
 *
 * - A registry with credentials must list its repositories, because every caller of a function can read them.
 * - There is no Docker configuration.
 * - Docker Hub without credentials must be accepted explicitly: its limits count by address, and Lambda's addresses are shared.
 */
export function checkForAws({ key, name, section, defaultCredentials }: RegistrySection, found: Problems): void {
  const { credentials, allow, anonymous, endpoint } = (section ?? {}) as Record<string, unknown>;
  const used = credentials ?? defaultCredentials;
  if (used === 'docker') {
    found.add(
      ['registries', key, 'credentials'],
      "is docker, but on AWS there is no Docker configuration; write {secret: <Secrets Manager id>}, ecr (for Amazon's own) or none",
    );
  }
  const listed = Array.isArray(allow) ? allow.length > 0 : allow !== undefined && allow !== null;
  if (used !== 'none' && !listed) {
    found.add(
      ['registries', key, 'allow'],
      'is required where credentials are used on AWS; list the repositories that may be pulled with them, for example ["team/**"] (["**"] allows all)',
    );
  }
  if (isHub(name, endpoint) && used === 'none' && anonymous !== 'accepted') {
    found.add(
      ['registries', key, 'credentials'],
      "is none, but Docker Hub counts anonymous pulls by address, and Lambda's addresses are shared with other AWS customers, so pulls would fail at random; write {secret: <Secrets Manager id>} with an account of Docker Hub, or anonymous: accepted beside it",
    );
  }
}

/** Refuses loopback addresses: on AWS this machine is the function itself. */
export function checkElsewhere(
  registries: Iterable<Pick<RegistrySettings, 'name' | 'endpoint' | 'mirrors' | 'proxy'>>,
  { blobEndpoint }: Pick<ServeSettings, 'blobEndpoint'>,
  found: Problems,
): void {
  const check = (where: readonly PropertyKey[], url: URL | undefined): void => {
    if (url === undefined || !isOwnMachine(url)) return;
    found.add(
      where,
      `is ${url.origin}, which on AWS is the function itself; write an address that functions can reach`,
    );
  };
  for (const { name, endpoint, mirrors, proxy } of registries) {
    check(['registries', name, 'endpoint'], endpoint);
    mirrors.forEach((mirror, at) => check(['registries', name, 'mirrors', at], mirror));
    check(['registries', name, 'proxy'], proxy);
  }
  check(['serve', 'blobEndpoint'], blobEndpoint);
}

/** Whether the registry is Docker Hub itself, also under another name. */
export function isHub(name: string, endpoint: unknown): boolean {
  if (endpoint === undefined) return name === 'docker.io';
  const hub = new URL(KNOWN_REGISTRIES.get('docker.io') ?? '');
  return typeof endpoint === 'string' && URL.canParse(endpoint) && new URL(endpoint).host === hub.host;
}
