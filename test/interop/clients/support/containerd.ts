import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startServer, type ServerProcess } from '../../server-process.ts';
import { basicOf, command, writeMirrorConfig, type ClientPlace, type RegistryClient } from './registry-client.ts';

export interface Containerd extends AsyncDisposable {
  readonly socket: string;
}

/** containerd with a root, a state and a socket of its own in `folder`; without Kubernetes' side. */
export async function startContainerd(folder: string, program = 'containerd'): Promise<Containerd> {
  mkdirSync(folder, { recursive: true });
  const socket = join(folder, 'containerd.sock');
  const configFile = join(folder, 'containerd.toml');
  const daemon: ServerProcess = await startServer((port) => {
    const lines = [
      'version = 2',
      `root = "${folder}/root"`,
      `state = "${folder}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]',
      '[grpc]',
      `  address = "${socket}"`,
      '[metrics]',
      `  address = "127.0.0.1:${port}"`,
      // From 2.0 on the daemon pulls and unpacks, with the snapshotters that it is configured for; before that, this says nothing.
      '[[plugins."io.containerd.transfer.v1.local".unpack_config]]',
      '  platform = "linux/amd64"',
      '  snapshotter = "native"',
    ];
    writeFileSync(configFile, `${lines.join('\n')}\n`);
    return [program, '--config', configFile];
  });
  return { socket, [Symbol.asyncDispose]: () => daemon.close() };
}

/** The programs of one release of containerd; default: Debian's. */
export interface ContainerdPrograms {
  readonly containerd: string;
  readonly ctr: string;
}

/** containerd with `ctr`; its mirrors are those of `entrepot mirror-config containerd`, so that it asks the cache with `?ns=`. */
export async function startCtr(
  place: ClientPlace,
  programs: ContainerdPrograms = { containerd: 'containerd', ctr: 'ctr' },
): Promise<RegistryClient> {
  const { folder, door } = place;
  const daemon = await startContainerd(join(folder, 'containerd'), programs.containerd);
  const hosts = join(writeMirrorConfig('containerd', place), 'certs.d');
  const ctr = (...args: string[]): Promise<string> => command(programs.ctr, ['-a', daemon.socket, ...args]);
  let runs = 0;
  return {
    nameOf: (registry, rest) => `${registry}/${rest}`,
    async pull(reference, { platform = 'linux/amd64', login } = {}) {
      const source = reference.startsWith(door.host) ? ['--plain-http'] : ['--hosts-dir', hosts];
      const credentials = login === undefined ? [] : ['--user', `${login.user}:${login.password}`];
      const unpacking = ['--snapshotter', 'native', '--platform', platform];
      await ctr('images', 'pull', ...source, ...credentials, ...unpacking, reference);
    },
    async digests(reference) {
      const lines = (await ctr('images', 'ls', `name==${reference}`)).split('\n').slice(1);
      return lines.flatMap((line) => line.match(/sha256:[0-9a-f]{64}/g)?.slice(-1) ?? []);
    },
    run: (reference) => ctr('run', '--rm', '--snapshotter', 'native', reference, `run-${(runs += 1)}`),
    // ctr offers --user to mirrors, too, but Kubernetes' side has nothing but the header for them.
    signInToMirror(login) {
      writeMirrorConfig('containerd', place);
      if (login === undefined) return;
      const header = `[host."${door.proxy.endpoint}".header]\n  Authorization = "Basic ${basicOf(login)}"\n`;
      for (const { name } of place.registries) appendFileSync(join(hosts, name, 'hosts.toml'), header);
    },
    async forget() {
      const references = (await ctr('images', 'ls', '-q')).split('\n').filter((line) => line !== '');
      // Waits until the content is collected, too: what is left would not be asked for again.
      if (references.length > 0) await ctr('images', 'rm', '--sync', ...references);
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}
