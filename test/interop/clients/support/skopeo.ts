import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  command,
  loginFile,
  writeMirrorConfig,
  type ClientPlace,
  type Login,
  type RegistryClient,
} from './registry-client.ts';

/** Debian's skopeo, which copies into folders; its mirrors are those of `entrepot mirror-config podman`. */
export function startSkopeo(place: ClientPlace): RegistryClient {
  const { folder, door } = place;
  const registriesFile = join(writeMirrorConfig('podman', place), 'registries.conf.d/50-entrepot.conf');
  const copies = join(folder, 'skopeo');
  const logins = join(folder, 'skopeo-auth.json');
  const signInToMirror = (login: Login | undefined): void => writeFileSync(logins, loginFile(door, login));
  signInToMirror(undefined);
  const copyOf = (reference: string): string =>
    join(copies, createHash('sha256').update(reference).digest('hex').slice(0, 16));
  const forget = (): Promise<void> => {
    rmSync(copies, { recursive: true, force: true });
    return Promise.resolve();
  };
  return {
    nameOf: (registry, rest) => `${registry}/${rest}`,
    async pull(reference, { platform = 'linux/amd64', login, signal } = {}) {
      const [os = '', architecture = ''] = platform.split('/');
      const target = copyOf(reference);
      rmSync(target, { recursive: true, force: true });
      mkdirSync(copies, { recursive: true });
      const direct = reference.startsWith(door.host) ? ['--src-tls-verify=false'] : [];
      const credentials =
        login === undefined ? ['--authfile', logins] : ['--src-creds', `${login.user}:${login.password}`];
      const settings = ['--registries-conf', registriesFile, '--override-os', os, '--override-arch', architecture];
      const copying = ['copy', '--quiet', ...direct, ...credentials, `docker://${reference}`, `dir:${target}`];
      await command('skopeo', ['--insecure-policy', ...settings, ...copying], {}, signal);
    },
    digests(reference) {
      const file = join(copyOf(reference), 'manifest.json');
      const held = existsSync(file) ? [`sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`] : [];
      return Promise.resolve(held);
    },
    signInToMirror,
    forget,
    [Symbol.asyncDispose]: forget,
  };
}
