import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  command,
  loginFile,
  writeMirrorConfig,
  type ClientPlace,
  type Login,
  type RegistryClient,
} from './registry-client.ts';

/** What podman needs to run in a container itself: no network of its own, no systemd, no limits above ours. */
const SETTINGS = `[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

/** Debian's podman with a store of its own; its mirrors are those of `entrepot mirror-config podman`. */
export function startPodman(place: ClientPlace): RegistryClient {
  const { folder, door } = place;
  const own = join(folder, 'podman');
  mkdirSync(own, { recursive: true });
  // Podman 4 takes a folder of drop-ins from the machine's own configuration and the user's, and from nowhere else.
  const home = join(own, 'home');
  mkdirSync(join(home, '.config'), { recursive: true });
  renameSync(writeMirrorConfig('podman', place), join(home, '.config/containers'));
  const settings = join(own, 'containers.conf');
  writeFileSync(settings, SETTINGS);
  const logins = join(own, 'auth.json');
  const signInToMirror = (login: Login | undefined): void => writeFileSync(logins, loginFile(door, login));
  signInToMirror(undefined);
  const environment = {
    HOME: home,
    XDG_CONFIG_HOME: join(home, '.config'),
    CONTAINERS_CONF: settings,
    REGISTRY_AUTH_FILE: logins,
  };
  const store = ['--root', join(own, 'root'), '--runroot', join(own, 'run'), '--tmpdir', join(own, 'tmp')];
  const podman = (...args: string[]): Promise<string> =>
    command('podman', [...store, '--storage-driver', 'vfs', ...args], environment);
  const forget = async (): Promise<void> => {
    await podman('rmi', '--all', '--force');
  };
  return {
    nameOf: (registry, rest) => `${registry}/${rest}`,
    async pull(reference, { platform = 'linux/amd64', login } = {}) {
      const direct = reference.startsWith(door.host) ? ['--tls-verify=false'] : [];
      const credentials = login === undefined ? [] : ['--creds', `${login.user}:${login.password}`];
      await podman('pull', '--quiet', '--platform', platform, ...direct, ...credentials, reference);
    },
    async digests(reference) {
      const [image] = JSON.parse(await podman('image', 'inspect', reference)) as [
        { readonly Digest: string; readonly RepoDigests: readonly string[] },
      ];
      return [image.Digest, ...image.RepoDigests.map((name) => name.replace(/^.*@/, ''))];
    },
    run: (reference) => podman('run', '--rm', '--pull=never', reference),
    signInToMirror,
    forget,
    [Symbol.asyncDispose]: forget,
  };
}
