import { isOwnMachine } from '../registry/address.ts';
import type { RegistrySettings } from '../registry/settings.ts';
import type { ServeSettings } from '../serve/settings.ts';
import { KNOWN_REGISTRIES } from './defaults.ts';
import type { Problems } from './problems.ts';

/** One registry as the file has it. Looked at unchecked, so that these problems are named along with the others of its section. */
export interface RegistrySection {
  readonly key: string;
  /** Canonical, where the key is a name. */
  readonly name: string;
  readonly section: unknown;
  /** What `credentials` means where the section does not say it. */
  readonly defaultCredentials: RegistrySettings['credentials']['kind'];
}

/**
 * What else must hold where the cache runs on AWS:
 *
 * - Where credentials are used, whoever may call a function may read whatever they can read: so it must be said which repositories that is.
 * - There is no Docker configuration.
 * - Docker Hub without credentials is a decision: Lambda's addresses are shared with strangers, and so are the limits that count by address.
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
      "is none, but Docker Hub counts anonymous pulls by address, and Lambda's addresses are shared with strangers, so pulls would fail at random; write {secret: <Secrets Manager id>} with an account of Docker Hub, or anonymous: accepted beside it",
    );
  }
}

/** Whatever is asked from a function must be elsewhere: on AWS this machine is the function itself. */
export function checkElsewhere(
  registries: Iterable<Pick<RegistrySettings, 'name' | 'endpoint' | 'mirrors' | 'proxy'>>,
  { blobEndpoint }: Pick<ServeSettings, 'blobEndpoint'>,
  found: Problems,
): void {
  const check = (where: readonly PropertyKey[], url: URL | undefined): void => {
    if (url === undefined || !isOwnMachine(url)) return;
    found.add(where, `is ${url.origin}, which on AWS is the function itself; write an address that functions reach`);
  };
  for (const { name, endpoint, mirrors, proxy } of registries) {
    check(['registries', name, 'endpoint'], endpoint);
    mirrors.forEach((mirror, at) => check(['registries', name, 'mirrors', at], mirror));
    check(['registries', name, 'proxy'], proxy);
  }
  check(['serve', 'blobEndpoint'], blobEndpoint);
}

/** Whether that leads to Docker Hub itself, whatever its name: an endpoint of one's own counts as it likes. */
export function isHub(name: string, endpoint: unknown): boolean {
  if (endpoint === undefined) return name === 'docker.io';
  const hub = new URL(KNOWN_REGISTRIES.get('docker.io') ?? '');
  return typeof endpoint === 'string' && URL.canParse(endpoint) && new URL(endpoint).host === hub.host;
}
