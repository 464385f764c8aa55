import { isReadable } from './cache-origin.ts';
import type { ClientConfig, ServedCache, ServedRegistry } from './mirror-config.ts';
import { isUsualEndpoint, prefixOf } from './registry-names.ts';
import { tomlString } from './toml.ts';

const FILE = '50-entrepot.conf';

/**
 * A drop-in of `registries.conf`, which Podman, Buildah, skopeo and CRI-O read: each registry has a folder of the cache as its mirror.
 *
 * https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md
 */
export function podmanConfig({ origin, registries, needsLogin }: ServedCache): ClientConfig {
  const named = registries.filter((registry) => prefixOf(registry) !== undefined);
  const nameless = registries.filter((registry) => prefixOf(registry) === undefined);
  const content = named.map((registry) => registryTables(registry, origin)).join('\n');
  return {
    files:
      named.length === 0
        ? []
        : [
            {
              path: `registries.conf.d/${FILE}`,
              place: `/etc/containers/registries.conf.d/${FILE}`,
              isFragment: false,
              content,
            },
          ],
    notes: [
      ...nameless.map(
        ({ name }) =>
          `${name}: cannot be mirrored, because it is an IPv6 address; give it an alias in the configuration.`,
      ),
      ...(needsLogin
        ? [
            `The cache wants a login: podman login ${origin.host}, or docker-credential-entrepot as a credential helper. Logins to the registries themselves are never sent to it.`,
          ]
        : []),
      ...(isReadable(origin)
        ? [
            `The URL is plain http: whoever is between can read and change what is pulled${needsLogin ? ', and read passwords' : ''}. Use https outside of a network of your own.`,
          ]
        : []),
    ],
  };
}

function registryTables(registry: ServedRegistry, origin: URL): string {
  const isUsual = isUsualEndpoint(registry);
  const { name, endpoint } = registry;
  const lines = [
    '[[registry]]',
    `prefix = ${tomlString(name)}`,
    `location = ${tomlString(isUsual ? name : endpoint.host)}`,
  ];
  if (!isUsual && endpoint.protocol === 'http:') lines.push('insecure = true');
  lines.push(
    '',
    '[[registry.mirror]]',
    `location = ${tomlString(`${origin.host}/${prefixOf(registry) ?? name}`)}`,
    'pull-from-mirror = "all"',
  );
  // Also on loopback: unlike Docker, containers/image makes no exception for it.
  if (origin.protocol === 'http:') lines.push('insecure = true');
  return `${lines.join('\n')}\n`;
}
