import {
  type ClientConfig,
  type ClientFile,
  exampleImage,
  isReadable,
  isUsualEndpoint,
  prefixOf,
  type ServedCache,
  type ServedRegistry,
  tomlString,
} from './served-cache.ts';

/** The usual `config_path`; EKS and other distributions use the same folder. */
const CONFIG_PATH = '/etc/containerd/certs.d';
const CONFIG_FILE = '/etc/containerd/config.toml';

/**
 * A `hosts.toml` for each registry, and the lines that make Kubernetes' side of containerd read them.
 *
 * containerd names the registry to a mirror by `?ns=`, so that one origin serves for all: https://github.com/containerd/containerd/blob/main/docs/hosts.md
 */
export function containerdConfig(cache: ServedCache): ClientConfig {
  return {
    files: [...cache.registries.map((registry) => hostsFile(cache, registry)), ...configFragments()],
    notes: [
      'Kubernetes: merge the fragment for your containerd into config.toml, then restart containerd. Changes of hosts.toml need no restart. ctr: --hosts-dir; nerdctl: reads /etc/containerd/certs.d by itself.',
      ...(cache.needsLogin
        ? [
            'The cache needs a login, which containerd sends to a mirror only as a header in hosts.toml: fill in Authorization, and make the files readable for root alone.',
          ]
        : []),
      ...(cache.needsLogin && isReadable(cache.origin)
        ? ['The URL is plain http: passwords would cross the network readable. Use https.']
        : []),
    ],
  };
}

function hostsFile({ origin: { origin }, needsLogin }: ServedCache, registry: ServedRegistry): ClientFile {
  const host = `host.${tomlString(origin)}`;
  const folder = folderOf(registry.name);
  const lines = [
    '# Asked last, when the cache is down or refuses. Without this line containerd would ask the registry all the same.',
    `server = ${tomlString(registry.endpoint.origin)}`,
    '',
    `[${host}]`,
    '  capabilities = ["pull", "resolve"]',
    '  # If the cache cannot be reached, a pull goes on after this time. containerd 1.x ignores this line and waits 30 s.',
    '  dial_timeout = "3s"',
  ];
  if (needsLogin) {
    lines.push(
      '',
      '  # The cache needs a login: docs/signing-in.md. Remove the "#", and write Basic and the base64 of user:password.',
      `  # [${host}.header]`,
      '  #   Authorization = "Basic …"',
    );
  }
  return {
    path: `certs.d/${folder}/hosts.toml`,
    place: `${CONFIG_PATH}/${folder}/hosts.toml`,
    isFragment: false,
    content: `${lines.join('\n')}\n`,
  };
}

/** `host_port_`: containerd tries this name first, and every file system accepts it. */
const folderOf = (name: string): string => name.replace(/:(\d+)$/, '_$1_');

function configFragments(): ClientFile[] {
  const fragment = (path: string, version: string, plugin: string): ClientFile => ({
    path,
    place: CONFIG_FILE,
    isFragment: true,
    content: `${[
      `# containerd ${version}.x`,
      `version = ${version === '1' ? 2 : 3}`,
      '',
      `[plugins.${tomlString(plugin)}.registry]`,
      `  config_path = ${tomlString(CONFIG_PATH)}`,
    ].join('\n')}\n`,
  });
  return [
    fragment('config-containerd-1.toml', '1', 'io.containerd.grpc.v1.cri'),
    fragment('config-containerd-2.toml', '2', 'io.containerd.cri.v1.images'),
  ];
}

/**
 * The fragment of `daemon.json`, and the image names for all other registries.
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
            `The URL is plain http: others on the network can read and change what is pulled${needsLogin ? ', and read passwords' : ''}. Use https unless the network is your own.`,
          ]
        : []),
    ],
  };
}

function hubNotes(hasHub: boolean, needsLogin: boolean, origin: URL): string[] {
  if (needsLogin) {
    return [
      `The cache needs a login: docker login ${origin.host}, or the credential helper docker-credential-entrepot.`,
      'No registry-mirrors: Docker would send the login of Docker Hub to the cache, never a login for the cache itself. Use the names below.',
    ];
  }
  if (!hasHub)
    return ['No registry-mirrors: they work for Docker Hub alone, and docker.io is not configured in the cache.'];
  return [
    'registry-mirrors work for Docker Hub alone; for other registries use the names below.',
    'dockerd sends the login of Docker Hub to a mirror that asks for one. This cache does not ask.',
  ];
}

function nameNote(registry: ServedRegistry, origin: URL): string[] {
  const prefix = prefixOf(registry);
  const image = exampleImage(registry);
  if (prefix === undefined) {
    return [
      `${registry.name}: Docker cannot name it, because it is an IPv6 address; give it an alias in the configuration.`,
    ];
  }
  return [`${registry.name}: docker pull ${origin.host}/${prefix}/${image}`];
}

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
            `The cache needs a login: podman login ${origin.host}, or docker-credential-entrepot as a credential helper. Logins to the registries themselves are never sent to it.`,
          ]
        : []),
      ...(isReadable(origin)
        ? [
            `The URL is plain http: others on the network can read and change what is pulled${needsLogin ? ', and read passwords' : ''}. Use https unless the network is your own.`,
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
