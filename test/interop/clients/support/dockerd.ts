import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../support/until.ts';
import { install, INTEROP_FOLDER, oneAtATime } from '../../install.ts';
import { startServer } from '../../server-process.ts';
import { startContainerd } from './containerd.ts';
import {
  command,
  loginFile,
  nameAtCache,
  writeMirrorConfig,
  type ClientPlace,
  type RegistryClient,
} from './registry-client.ts';
import { HUB } from './upstreams.ts';

const FOLDER = join(INTEROP_FOLDER, 'docker.io');
const READY_MS = 20_000;
/** Nobody listens there. */
const NOWHERE = 'http://127.0.0.1:9';

/** Debian's dockerd and docker, unpacked and not installed: a Docker that this machine has stays as it is. */
export async function unpackDocker(): Promise<void> {
  // podman brings the libraries that dockerd needs, too.
  await install('containerd', 'runc', 'podman');
  const script = `[ -e "$1/usr/sbin/dockerd" ] && exit 0
set -e; rm -rf "$1.incoming"; mkdir -p "$1.incoming"; cd "$1.incoming"
apt-get -q download docker.io || { apt-get -q -y update; apt-get -q download docker.io; }
dpkg-deb -x docker.io_*.deb "$1.incoming"; rm docker.io_*.deb; mv "$1.incoming" "$1"`;
  await oneAtATime(script, [FOLDER]);
}

/**
 * dockerd 20.10 with docker, on a containerd of its own. Its mirror is that of `entrepot mirror-config docker`, and for Docker Hub alone; everything else is
 * pulled by its name at the cache.
 */
export async function startDocker(place: ClientPlace): Promise<RegistryClient> {
  await unpackDocker();
  await using starting = new AsyncDisposableStack();
  const { door } = place;
  const folder = join(place.folder, 'docker');
  mkdirSync(folder, { recursive: true });
  const containerd = starting.use(await startContainerd(join(folder, 'containerd')));
  // Containers with the host's network leave a mount behind, which dockerd never removes.
  starting.defer(() => unmountAllIn(folder));
  const socket = join(folder, 'docker.sock');
  const mirrorFile = join(writeMirrorConfig('docker', place), 'daemon.json');
  // Not there where Docker Hub is none of the registries.
  const mirrors = existsSync(mirrorFile) ? (JSON.parse(readFileSync(mirrorFile, 'utf8')) as object) : {};
  const settings = {
    ...mirrors,
    hosts: [`unix://${socket}`],
    containerd: containerd.socket,
    'data-root': join(folder, 'data'),
    'exec-root': join(folder, 'exec'),
    pidfile: join(folder, 'docker.pid'),
    'storage-driver': 'vfs',
    bridge: 'none',
    iptables: false,
    ip6tables: false,
    'exec-opts': ['native.cgroupdriver=cgroupfs'],
  };
  const log = openSync(join(folder, 'docker.log'), 'a');
  // It must not go on to Docker Hub itself: loopback alone needs no proxy.
  const environment = { HTTP_PROXY: NOWHERE, HTTPS_PROXY: NOWHERE };
  starting.use(
    await startServer(
      (port) => {
        const file = join(folder, 'daemon.json');
        // Metrics are only there to see on a port when it has started.
        writeFileSync(file, JSON.stringify({ ...settings, experimental: true, 'metrics-addr': `127.0.0.1:${port}` }));
        return [join(FOLDER, 'usr/sbin/dockerd'), '--config-file', file];
      },
      { log, environment },
    ),
  );
  closeSync(log);
  await until(() => existsSync(socket), READY_MS);

  const configFolder = join(folder, 'config');
  mkdirSync(configFolder);
  const configFile = join(configFolder, 'config.json');
  writeFileSync(configFile, loginFile(door, undefined));
  const docker = (...args: string[]): Promise<string> =>
    command(join(FOLDER, 'usr/bin/docker'), ['--config', configFolder, '--host', `unix://${socket}`, ...args], {
      DOCKER_CLI_EXPERIMENTAL: 'enabled',
    });
  const resources = starting.move();
  return {
    nameOf: (registry, rest) => (registry === HUB ? `${registry}/${rest}` : nameAtCache(door, registry, rest)),
    async pull(reference, { platform = 'linux/amd64', login } = {}) {
      writeFileSync(configFile, loginFile(door, login));
      await docker('pull', '--quiet', '--platform', platform, reference);
    },
    async digests(reference) {
      // Two platforms of one index cannot both have its digest here; the ID is the digest of the config.
      const [image] = JSON.parse(await docker('image', 'inspect', reference)) as [
        { readonly Id: string; readonly RepoDigests: readonly string[] },
      ];
      return [image.Id, ...image.RepoDigests.map((name) => name.replace(/^.*@/, ''))];
    },
    run: (reference) => docker('run', '--rm', '--pull', 'never', '--network', 'host', reference),
    async forget() {
      await docker('image', 'prune', '--all', '--force');
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function unmountAllIn(folder: string): Promise<void> {
  const places = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const place of places.filter((one) => one.startsWith(`${folder}/`)).reverse()) await command('umount', [place]);
}
