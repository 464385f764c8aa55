import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildArtifact, noise, type Image } from '../../../support/images.ts';
import { buildGoProgram, CRANE, type GoProgram } from '../../go-program.ts';
import { INTEROP_FOLDER, oneAtATime } from '../../install.ts';
import { startCtr } from './containerd.ts';
import { twoPlatforms } from './images.ts';
import {
  command,
  loginFile,
  nameAtCache,
  writeMirrorConfig,
  type ClientPlace,
  type ClientPull,
  type Login,
  type RegistryClient,
} from './registry-client.ts';

/** A client of the last releases, built with a current Go, which keeps logins on redirects where Debian's Go does not. */
export interface CurrentClient {
  readonly start: (place: ClientPlace) => Promise<RegistryClient>;
  /** What it can pull. */
  readonly imageOf: (name: string) => Image;
}

const REGCTL = { path: 'github.com/regclient/regclient/cmd/regctl', version: 'v0.11.7' };
const ORAS = { path: 'oras.land/oras/cmd/oras', version: 'v1.3.6' };
const HELM = { path: 'helm.sh/helm/v4/cmd/helm', version: 'v4.3.2' };
const CONTAINERD: GoProgram = {
  path: 'github.com/containerd/containerd/v2/cmd/containerd',
  version: 'v2.4.2',
  pureGo: true,
};
const CTR: GoProgram = { path: 'github.com/containerd/containerd/v2/cmd/ctr', version: 'v2.4.2', pureGo: true };
/** Of skopeo, podman, buildah and CRI-O. */
const IMAGE_MODULE = 'go.podman.io/image/v5@v5.42.1';

const inTwo = (name: string): Image => twoPlatforms(name, 'oci');

/** Those that build in some seconds. */
export const LIGHT: Readonly<Record<string, CurrentClient>> = {
  'crane 0.22': { start: startCrane, imageOf: inTwo },
  'regctl 0.11': { start: startRegctl, imageOf: inTwo },
  'oras 1.3': { start: startOras, imageOf: inTwo },
};

/** Those whose build takes minutes. */
export const HEAVY: Readonly<Record<string, CurrentClient>> = {
  'the engine of skopeo, 5.42': { start: startCopier, imageOf: inTwo },
  'helm 4.3': { start: startHelm, imageOf: chart },
  'containerd 2.4': {
    start: async (place) =>
      startCtr(place, { containerd: await buildGoProgram(CONTAINERD), ctr: await buildGoProgram(CTR) }),
    imageOf: inTwo,
  },
};

/** A Helm chart, as `helm push` makes it; of its archive only the bytes count. */
function chart(name: string): Image {
  return buildArtifact({
    config: {
      bytes: Buffer.from(JSON.stringify({ name, version: '1.0.0', apiVersion: 'v2' })),
      mediaType: 'application/vnd.cncf.helm.config.v1+json',
    },
    blobs: [{ bytes: noise(20_000, name), mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip' }],
  });
}

interface Copy {
  readonly reference: string;
  /** Empty, and there. */
  readonly folder: string;
  /** `linux/amd64` */
  readonly platform: string;
  readonly login: Login | undefined;
  readonly signal: AbortSignal | undefined;
  /** A home for the client, with the login in `config.json` as `docker login` writes it. */
  readonly environment: Readonly<Record<string, string>>;
}

/** A client that copies images into folders, and asks the cache by its name there. */
function copyingClient(
  { folder, door }: ClientPlace,
  name: string,
  copy: (one: Copy) => Promise<void>,
  digestsIn: (folder: string) => readonly string[] = digestsOfLayout,
): RegistryClient {
  const home = join(folder, `${name}-home`);
  const copies = join(folder, name);
  const environment = { HOME: home, DOCKER_CONFIG: home, XDG_CONFIG_HOME: home, NO_COLOR: '1' };
  mkdirSync(home, { recursive: true });
  const copyOf = (reference: string): string =>
    join(copies, createHash('sha256').update(reference).digest('hex').slice(0, 16));
  const forget = (): Promise<void> => {
    rmSync(copies, { recursive: true, force: true });
    return Promise.resolve();
  };
  return {
    nameOf: (registry, rest) => nameAtCache(door, registry, rest),
    async pull(reference, { platform = 'linux/amd64', login, signal }: ClientPull = {}) {
      const target = copyOf(reference);
      rmSync(target, { recursive: true, force: true });
      mkdirSync(target, { recursive: true });
      writeFileSync(join(home, 'config.json'), loginFile(door, login));
      await copy({ reference, folder: target, platform, login, signal, environment });
    },
    digests: (reference) => Promise.resolve(digestsIn(copyOf(reference))),
    forget,
    [Symbol.asyncDispose]: forget,
  };
}

function digestsOfLayout(folder: string): readonly string[] {
  const file = join(folder, 'index.json');
  if (!existsSync(file)) return [];
  const { manifests } = JSON.parse(readFileSync(file, 'utf8')) as { readonly manifests: readonly { digest: string }[] };
  return manifests.map(({ digest }) => digest);
}

async function startCrane(place: ClientPlace): Promise<RegistryClient> {
  const crane = await buildGoProgram(CRANE);
  return copyingClient(place, 'crane', async ({ reference, folder, platform, environment, signal }) => {
    const options = ['--insecure', '--platform', platform, '--format', 'oci'];
    await command(crane, ['pull', ...options, reference, folder], environment, signal);
  });
}

async function startRegctl(place: ClientPlace): Promise<RegistryClient> {
  const regctl = await buildGoProgram(REGCTL);
  const { host } = place.door;
  return copyingClient(place, 'regctl', async ({ reference, folder, platform, environment, signal }) => {
    const options = ['--host', `reg=${host},tls=disabled`];
    const copying = ['image', 'copy', '--platform', platform, reference, `ocidir://${folder}:copied`];
    await command(regctl, [...options, ...copying], environment, signal);
  });
}

async function startOras(place: ClientPlace): Promise<RegistryClient> {
  const oras = await buildGoProgram(ORAS);
  return copyingClient(place, 'oras', async ({ reference, folder, platform, environment, signal }) => {
    const options = ['--no-tty', '--from-plain-http', '--platform', platform];
    await command(oras, ['copy', ...options, reference, '--to-oci-layout', `${folder}:copied`], environment, signal);
  });
}

async function startHelm(place: ClientPlace): Promise<RegistryClient> {
  const helm = await buildGoProgram(HELM);
  const pulled = (folder: string): string => join(folder, 'digest');
  const client = copyingClient(
    place,
    'helm',
    async ({ reference, folder, login, environment, signal }) => {
      const [, name = '', version = ''] = /^(.*):([^:/]+)$/.exec(reference) ?? [];
      const credentials = login === undefined ? [] : ['--username', login.user, '--password', login.password];
      const options = ['--plain-http', '--version', version, ...credentials, '--destination', folder];
      const words = await command(helm, ['pull', `oci://${name}`, ...options], environment, signal);
      writeFileSync(pulled(folder), /sha256:[0-9a-f]{64}/.exec(words)?.[0] ?? '');
    },
    (folder) => (existsSync(pulled(folder)) ? [readFileSync(pulled(folder), 'utf8')] : []),
  );
  return { ...client, pullsDigests: false };
}

async function startCopier(place: ClientPlace): Promise<RegistryClient> {
  const copier = await buildCopier();
  const registriesFile = join(writeMirrorConfig('podman', place), 'registries.conf.d/50-entrepot.conf');
  return copyingClient(
    place,
    'copier',
    async ({ reference, folder, platform, environment, signal }) => {
      const settings = [
        ...platform.split('/').slice(0, 2),
        registriesFile,
        join(environment.HOME ?? '', 'config.json'),
      ];
      await command(copier, [reference, folder, ...settings], environment, signal);
    },
    (folder) => {
      const file = join(folder, 'manifest.json');
      return existsSync(file) ? [`sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`] : [];
    },
  );
}

const BUILD_COPIER = `[ -x "$1/copier" ] || {
  rm -rf "$1" && mkdir -p "$1/source" && cp "$2" "$1/source/main.go" && cd "$1/source" &&
  go mod init copier && go get "$3" &&
  CGO_ENABLED=0 go build -mod=mod -buildvcs=false -o ../incoming \\
    -tags 'containers_image_openpgp exclude_graphdriver_btrfs containers_image_storage_stub containers_image_docker_daemon_stub' . &&
  mv ../incoming ../copier
}`;

/** skopeo itself is no Go module that Go's proxy has. */
async function buildCopier(): Promise<string> {
  const folder = join(INTEROP_FOLDER, IMAGE_MODULE.replaceAll('/', '-'));
  const source = fileURLToPath(new URL('../copier/main.go', import.meta.url));
  await oneAtATime(BUILD_COPIER, [folder, source, IMAGE_MODULE]);
  return join(folder, 'copier');
}
