import { isReadable } from './cache-origin.ts';
import type { ClientConfig, ConfigFile, ServedCache, ServedRegistry } from './mirror-config.ts';
import { tomlString } from './toml.ts';

/** What `config_path` is on most systems; EKS and the rest that set it name the same folder. */
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
      'Kubernetes: one of the fragments of config.toml must be in force, then restart containerd. Changes of hosts.toml need no restart. ctr: --hosts-dir; nerdctl: reads /etc/containerd/certs.d by itself.',
      ...(cache.needsLogin
        ? [
            'The cache wants a login, and containerd has none for a mirror but the header in hosts.toml: fill in Authorization, and make the files readable for root alone.',
          ]
        : []),
      ...(cache.needsLogin && isReadable(cache.origin)
        ? ['The URL is plain http: passwords would cross the network readable. Use https.']
        : []),
    ],
  };
}

function hostsFile({ origin: { origin }, needsLogin }: ServedCache, registry: ServedRegistry): ConfigFile {
  const host = `host.${tomlString(origin)}`;
  const folder = folderOf(registry.name);
  const lines = [
    '# Asked last, when the cache is down or refuses. Without this line containerd would ask the registry all the same.',
    `server = ${tomlString(registry.endpoint.origin)}`,
    '',
    `[${host}]`,
    '  capabilities = ["pull", "resolve"]',
    '  # How long a cache that cannot be reached holds up a pull; containerd 1.x does not know this line, and waits 30 s.',
    '  dial_timeout = "3s"',
  ];
  if (needsLogin) {
    lines.push(
      '',
      '  # The cache wants a login: docs/signing-in.md. The value is Basic and the base64 of user:password; remove the "#".',
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

/** `host_port_`: what containerd looks for first, and what every file system takes. */
const folderOf = (name: string): string => name.replace(/:(\d+)$/, '_$1_');

function configFragments(): ConfigFile[] {
  const fragment = (path: string, version: string, plugin: string): ConfigFile => ({
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
