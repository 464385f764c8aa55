/*
 * What `entrepot mirror-config` writes, read by the clients themselves. A docker-registry plays the cache: it ignores ?ns=, so it holds the image under every
 * name that a client may ask it for. Another plays the registry itself, for when the cache is down.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { childEnvironment, freePort } from '../../../infra/local/processes.ts';
import { type Client, mirrorConfig } from '../../../lib/cli/mirror-config/mirror-config.ts';
import { parseCacheOrigin, type ServedRegistry } from '../../../lib/cli/mirror-config/served-cache.ts';
import { buildImage } from '../../support/images.ts';
import { install } from '../install.ts';
import { startDockerRegistry, type DockerRegistry } from '../registry/docker-registry.ts';
import { push } from '../registry/push.ts';
import { startServer, type ServerProcess } from '../server-process.ts';

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 20_000;
const NAMED = 'registry.example.test';
const PORTED = 'registry.example.test:5000';
const IMAGE = buildImage({ platform: 'linux/amd64', layers: [{ files: { 'etc/motd': 'landed once, shipped on\n' } }] });

let folder: string;
let cache: DockerRegistry;
let upstream: DockerRegistry;

before(
  async () => {
    await install('docker-registry', 'skopeo', 'containerd', 'ctr', 'podman');
    folder = mkdtempSync(join(tmpdir(), 'entrepot-mirror-config-'));
    cache = await startDockerRegistry(join(folder, 'cache'));
    upstream = await startDockerRegistry(join(folder, 'upstream'));
    // containerd asks by the path alone, Podman by the registry's prefix.
    for (const repository of [
      'library/app',
      'team/app',
      'docker.io/library/app',
      `${NAMED}/team/app`,
      'ported/team/app',
    ]) {
      await push(IMAGE, cache.host, repository, 'v1');
    }
    await push(IMAGE, upstream.host, 'team/app', 'v1');
  },
  { timeout: 300_000 },
);

after(async () => {
  await Promise.all([cache.close(), upstream.close()]);
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  for (const { proxy } of [cache, upstream]) {
    proxy.log.length = 0;
    proxy.rules.length = 0;
  }
});

/** Docker Hub, a registry with a plain name, and one with a port; the upstream stands for the latter two. */
const registries = (): ServedRegistry[] => [
  { name: 'docker.io', endpoint: new URL('https://registry-1.docker.io') },
  { name: NAMED, endpoint: new URL(upstream.proxy.endpoint) },
  { name: PORTED, endpoint: new URL(upstream.proxy.endpoint), alias: 'ported' },
];

/** Writes what the command writes; returns the folder. */
function written(
  client: Client,
  origin = cache.proxy.endpoint,
  needsLogin = false,
  edit = (text: string) => text,
): string {
  const target = mkdtempSync(join(folder, 'written-'));
  const served = { origin: parseCacheOrigin(origin), registries: registries(), needsLogin };
  for (const { path, content } of mirrorConfig(client, served).files) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    writeFileSync(join(target, path), edit(content));
  }
  return target;
}

const command = (name: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) =>
  run(name, args, { timeout: COMMAND_TIMEOUT_MS, env: { ...childEnvironment(), ...environment } });

const asked = (registry: DockerRegistry): string[] => registry.proxy.log.map(({ path }) => path);

describe('containerd', () => {
  let daemon: ServerProcess;
  let socket: string;
  let pulls = 0;

  before(async () => {
    socket = join(folder, 'containerd.sock');
    daemon = await startServer((port) => {
      const config = join(folder, 'containerd.toml');
      writeFileSync(
        config,
        `version = 2\nroot = "${folder}/containerd-root"\nstate = "${folder}/containerd-state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "${socket}"\n[plugins."io.containerd.metadata.v1.bolt"]\n  content_sharing_policy = "isolated"\n[metrics]\n  address = "127.0.0.1:${port}"\n`,
      );
      return ['containerd', '--config', config];
    });
  });

  after(() => daemon.close());

  const pull = async (hostsFolder: string, reference: string): Promise<void> => {
    // An empty store each time.
    const namespace = `pull-${(pulls += 1)}`;
    const options = [
      '--hosts-dir',
      join(hostsFolder, 'certs.d'),
      '--snapshotter',
      'native',
      '--platform',
      'linux/amd64',
    ];
    await command('ctr', ['-a', socket, '-n', namespace, 'images', 'pull', ...options, reference]);
  };

  for (const [registry, reference] of [
    ['docker.io', 'docker.io/library/app:v1'],
    [NAMED, `${NAMED}/team/app:v1`],
    [PORTED, `${PORTED}/team/app:v1`],
  ] as const) {
    test(`finds the hosts.toml of ${registry}, and asks the cache with ?ns=${registry}`, async () => {
      await pull(written('containerd'), reference);
      const paths = asked(cache);
      assert.ok(paths.length > 0);
      for (const path of paths) {
        assert.equal(new URL(path, cache.proxy.endpoint).searchParams.get('ns'), registry, path);
      }
      assert.deepEqual(asked(upstream), []);
    });
  }

  test('goes on to the registry where the cache is down, or answers with an error', async () => {
    await pull(written('containerd', `http://127.0.0.1:${await freePort()}`), `${NAMED}/team/app:v1`);
    assert.ok(asked(upstream).length > 0);

    upstream.proxy.log.length = 0;
    cache.proxy.rules.push({ times: Infinity, action: { kind: 'answer', answer: { status: 503, body: '' } } });
    await pull(written('containerd'), `${NAMED}/team/app:v1`);
    assert.ok(asked(upstream).length > 0);
  });

  test('sends the header of hosts.toml with every request to the cache, and to nobody else', async () => {
    const basic = `Basic ${Buffer.from('ci:password').toString('base64')}`;
    // What the comment in the file asks for.
    const edit = (text: string) =>
      text.replace(/^ {2}# {1,3}(\[.*\.header\]|Authorization = .*)$/gm, '  $1').replace('Basic …', basic);
    // Blobs are elsewhere, as S3 is; localhost is another host than 127.0.0.1.
    const elsewhere = upstream.proxy.endpoint.replace('127.0.0.1', 'localhost');
    cache.proxy.rules.push({
      path: /\/blobs\//,
      times: Infinity,
      action: { kind: 'answer', answer: ({ path }) => ({ status: 307, headers: { location: elsewhere + path } }) },
    });
    await pull(written('containerd', cache.proxy.endpoint, true, edit), `${NAMED}/team/app:v1`);
    assert.ok(asked(cache).length > 0);
    assert.deepEqual(new Set(cache.proxy.log.map(({ headers }) => headers.authorization)), new Set([basic]));
    assert.ok(asked(upstream).length > 0);
    assert.deepEqual(new Set(upstream.proxy.log.map(({ headers }) => headers.authorization)), new Set([undefined]));
  });

  test('reads the lines of config.toml', async () => {
    const { stdout } = await command('containerd', [
      '--config',
      join(written('containerd'), 'config-containerd-1.toml'),
      'config',
      'dump',
    ]);
    assert.match(
      stdout,
      /\[plugins\."io\.containerd\.grpc\.v1\.cri"\.registry\]\s+config_path = "\/etc\/containerd\/certs\.d"/,
    );
  });
});

describe('skopeo and Podman', () => {
  const skopeo = (conf: string, reference: string, ...options: string[]) =>
    command('skopeo', [
      '--registries-conf',
      conf,
      '--override-arch',
      'amd64',
      'inspect',
      '--raw',
      ...options,
      `docker://${reference}`,
    ]);
  const fileOf = (target: string): string => join(target, 'registries.conf.d/50-entrepot.conf');

  for (const [reference, path] of [
    ['docker.io/library/app:v1', '/v2/docker.io/library/app/manifests/v1'],
    [`${NAMED}/team/app:v1`, `/v2/${NAMED}/team/app/manifests/v1`],
    [`${PORTED}/team/app:v1`, '/v2/ported/team/app/manifests/v1'],
  ] as const) {
    test(`skopeo asks the cache for ${reference} as ${path}`, async () => {
      const { stdout } = await skopeo(fileOf(written('podman')), reference);
      assert.equal(stdout.trimEnd(), Buffer.from(IMAGE.root.bytes).toString().trimEnd());
      assert.ok(asked(cache).includes(path), asked(cache).join('\n'));
      assert.deepEqual(asked(upstream), []);
    });
  }

  test('skopeo goes on to the registry where the cache is down', async () => {
    await skopeo(fileOf(written('podman', `http://127.0.0.1:${await freePort()}`)), `${NAMED}/team/app:v1`);
    assert.ok(asked(upstream).includes('/v2/team/app/manifests/v1'));
  });

  test("skopeo sends the cache its own login, and never the registry's", async () => {
    const auths = join(folder, 'auth.json');
    const login = (user: string) => ({ auth: Buffer.from(`${user}:password`).toString('base64') });
    const cacheHost = new URL(cache.proxy.endpoint).host;
    cache.proxy.rules.push({
      path: /^\/v2\/$/,
      times: Infinity,
      action: { kind: 'answer', answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="cache"' } } },
    });
    const seen = (): (string | undefined)[] => [
      ...new Set(cache.proxy.log.map(({ headers }) => headers.authorization)),
    ];

    writeFileSync(auths, JSON.stringify({ auths: { [NAMED]: login('registry'), [cacheHost]: login('cache') } }));
    await skopeo(fileOf(written('podman')), `${NAMED}/team/app:v1`, '--authfile', auths);
    assert.deepEqual(seen(), [undefined, `Basic ${login('cache').auth}`]);

    cache.proxy.log.length = 0;
    writeFileSync(auths, JSON.stringify({ auths: { [NAMED]: login('registry') } }));
    await skopeo(fileOf(written('podman')), `${NAMED}/team/app:v1`, '--authfile', auths);
    // An empty name and password: what it sends where it has none.
    assert.deepEqual(seen(), [undefined, `Basic ${Buffer.from(':').toString('base64')}`]);
  });

  test('podman pulls through the drop-in', async () => {
    // A user's own configuration is read as the machine's is, from another folder.
    const home = mkdtempSync(join(folder, 'home-'));
    mkdirSync(join(home, '.config'));
    renameSync(written('podman'), join(home, '.config/containers'));
    const environment = { HOME: home, XDG_CONFIG_HOME: join(home, '.config') };
    const store = [
      '--root',
      join(folder, 'podman-root'),
      '--runroot',
      join(folder, 'podman-run'),
      '--storage-driver',
      'vfs',
      '--cgroup-manager',
      'cgroupfs',
      '--events-backend',
      'file',
    ];
    await command(
      'podman',
      [...store, 'pull', '--quiet', '--platform', 'linux/amd64', `${NAMED}/team/app:v1`],
      environment,
    );
    assert.ok(asked(cache).includes(`/v2/${NAMED}/team/app/manifests/v1`), asked(cache).join('\n'));
    assert.deepEqual(asked(upstream), []);
  });
});
