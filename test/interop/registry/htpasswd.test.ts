import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { multiArchImage } from '../../support/images.ts';
import { install } from '../install.ts';
import { assertHolds, openInteropCache, type InteropCache } from './cache.ts';
import { closureOf } from './closure.ts';
import { startDockerRegistry, type DockerRegistry } from './docker-registry.ts';
import { push } from './push.ts';

const NAME = 'registry.example.test';
const REFERENCE = `${NAME}/team/app:v1`;
const login = { user: 'harbour', password: 'pässwörd, with "quotes": and colons' };
const auth = Buffer.from(`${login.user}:${login.password}`).toString('base64');
const image = multiArchImage({ name: 'behind Basic', attestations: true });

let registry: DockerRegistry;
let folder: string;

before(
  async () => {
    await install('docker-registry', 'skopeo', 'htpasswd');
    folder = mkdtempSync(join(tmpdir(), 'entrepot-htpasswd-'));
    const file = join(folder, 'htpasswd');
    writeFileSync(file, execFileSync('htpasswd', ['-niB', login.user], { input: login.password }));
    registry = await startDockerRegistry(join(folder, 'registry'), { kind: 'htpasswd', file });
    await push(image, registry.host, 'team/app', 'v1', login);
  },
  { timeout: 300_000 },
);

after(async () => {
  await registry.close();
  rmSync(folder, { recursive: true });
});

const openCache = (): Promise<InteropCache> =>
  openInteropCache({ registries: { [NAME]: { endpoint: registry.proxy.endpoint, credentials: 'docker' } } });

test("the login in Docker's config.json opens the registry", async () => {
  await using cache = await openCache();
  cache.dockerConfig({ auths: { [NAME]: { auth } } });
  const receipt = await cache.pull(REFERENCE, 'linux/amd64');
  assert.equal(receipt.outcome, 'pulled');
  await assertHolds(cache, registry, closureOf(image, 'linux/amd64'));
});

test('a credential helper opens it, too', async () => {
  await using cache = await openCache();
  const helpers = join(cache.folder, 'helpers');
  mkdirSync(helpers);
  const answer = JSON.stringify({ ServerURL: NAME, Username: login.user, Secret: login.password });
  writeFileSync(join(helpers, 'answer.json'), answer);
  const helper = join(helpers, 'docker-credential-interop');
  writeFileSync(
    helper,
    `#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = ${NAME} ] && exec cat ${join(helpers, 'answer.json')}\nexit 1\n`,
  );
  chmodSync(helper, 0o755);
  cache.dockerConfig({ credHelpers: { [NAME]: 'interop' } });
  const PATH = `${helpers}:${process.env.PATH ?? ''}`;
  const result = await cache.entrepot(['pull', REFERENCE, '--platform', 'linux/arm64'], { PATH });
  assert.equal(result.exitCode, 0, result.stdout + result.stderr);
  await assertHolds(cache, registry, closureOf(image, 'linux/arm64'));
});

test('without a login, or with a wrong one, the answer is DENIED and not "absent"; no secret is printed', async () => {
  await using cache = await openCache();
  const wrong = Buffer.from(`${login.user}:wrong-${login.password}`).toString('base64');
  for (const config of [{}, { auths: { [NAME]: { auth: wrong } } }]) {
    cache.dockerConfig(config);
    const result = await cache.entrepot(['pull', REFERENCE, '--platform', 'linux/amd64']);
    assert.equal(result.exitCode, 1);
    const { error } = result.documents[0] as { error: { code: string; retryable: boolean } };
    assert.equal(error.code, 'DENIED', result.stdout);
    assert.equal(error.retryable, false);
    for (const secret of [login.password, wrong]) assert.ok(!(result.stdout + result.stderr).includes(secret));
  }
  assert.deepEqual(await cache.digests(), []);
});

test('a login of another registry is not shown to this one', async () => {
  await using cache = await openCache();
  cache.dockerConfig({ auths: { 'other.example.test': { auth } } });
  const before = registry.proxy.log.length;
  const result = await cache.entrepot(['pull', REFERENCE, '--platform', 'linux/amd64']);
  assert.equal(result.exitCode, 1);
  const seen = registry.proxy.log.slice(before);
  assert.ok(seen.length > 0);
  assert.ok(seen.every(({ headers }) => headers.authorization === undefined));
});

test('what needs no more of the registry needs no login either', async () => {
  await using cache = await openCache();
  cache.dockerConfig({ auths: { [NAME]: { auth } } });
  await cache.pull(REFERENCE, 'linux/amd64');
  const requests = registry.proxy.log.length;
  cache.dockerConfig({});
  assert.equal((await cache.pull(REFERENCE, 'linux/amd64')).outcome, 'hit');
  assert.equal(registry.proxy.log.length, requests);
});
