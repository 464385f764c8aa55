import { isReadable } from './cache-origin.ts';
import type { ClientConfig, ServedCache, ServedRegistry } from './mirror-config.ts';
import { exampleImage, prefixOf } from './registry-names.ts';

/**
 * The part of `daemon.json`, and the names by which everything else is pulled.
 *
 * `registry-mirrors` are for Docker Hub alone: https://docs.docker.com/docker-hub/image-library/mirror/. And the only login that dockerd tries there is
 * that of Docker Hub (https://github.com/moby/moby/issues/30880), so a cache that wants a login of its own cannot be one of them.
 */
export function dockerConfig({ origin, registries, needsLogin }: ServedCache): ClientConfig {
  const hasHub = registries.some(({ name }) => name === 'docker.io');
  const settings = {
    ...(hasHub && !needsLogin ? { 'registry-mirrors': [origin.origin] } : {}),
    // dockerd takes 127.0.0.0/8 for insecure by itself, but not every version takes ::1.
    ...(isReadable(origin) || origin.origin.startsWith('http://[') ? { 'insecure-registries': [origin.host] } : {}),
  };
  const others = registries.filter(({ name }) => name !== 'docker.io' || needsLogin);
  return {
    files:
      Object.keys(settings).length === 0
        ? []
        : [
            {
              path: 'daemon.json',
              place: '/etc/docker/daemon.json',
              isFragment: true,
              content: `${JSON.stringify(settings, undefined, 2)}\n`,
            },
          ],
    notes: [
      ...hubNotes(hasHub, needsLogin, origin),
      ...others.flatMap((registry) => nameNote(registry, origin)),
      ...(isReadable(origin)
        ? [
            `The URL is plain http: whoever is between can read and change what is pulled${needsLogin ? ', and read passwords' : ''}. Use https outside of a network of your own.`,
          ]
        : []),
    ],
  };
}

function hubNotes(hasHub: boolean, needsLogin: boolean, origin: URL): string[] {
  if (needsLogin) {
    return [
      `The cache wants a login: docker login ${origin.host}, or the credential helper docker-credential-entrepot.`,
      'No registry-mirrors: Docker would offer the cache the login of Docker Hub, and never its own. Use the names below.',
    ];
  }
  if (!hasHub)
    return ['No registry-mirrors: they are for Docker Hub alone, and the cache has no docker.io configured.'];
  return [
    'registry-mirrors are for Docker Hub alone; other registries are pulled by the names below.',
    'Where somebody is signed in to Docker Hub, dockerd offers that login to a mirror that asks for one. This cache does not ask.',
  ];
}

function nameNote(registry: ServedRegistry, origin: URL): string[] {
  const prefix = prefixOf(registry);
  const image = exampleImage(registry);
  if (prefix === undefined) {
    return [
      `${registry.name}: has no name with Docker, because it is an IPv6 address; give it an alias in the configuration.`,
    ];
  }
  return [`${registry.name}: docker pull ${origin.host}/${prefix}/${image}`];
}
