import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { openInteropCache } from './cache.ts';
import { basic, startGitea, type Gitea } from './gitea.ts';
import { pushPlain } from './plain-push.ts';
import { NAME, type Upstream } from './upstream-registries.ts';
import { tableOf, type Refusals } from './upstream-table.ts';

/** Building it takes minutes. */
const BUILD_TIMEOUT_MS = 20 * 60_000;

let folder: string;
let gitea: Gitea;

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), 'entrepot-gitea-'));
    gitea = await startGitea(folder);
  },
  { timeout: BUILD_TIMEOUT_MS },
);

after(async () => {
  await gitea[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const registry = (): object => ({ endpoint: gitea.proxy.endpoint, credentials: 'docker' });
const docker = (password: string): object => ({
  auths: { [NAME]: { auth: Buffer.from(`${gitea.login.user}:${password}`).toString('base64') } },
});

/** It reads what is in an index and in a manifest, and takes what it knows. */
const REFUSED: Refusals = {
  nested: /: 400 .*MANIFEST_INVALID/,
  sha512: /: 400 .*DIGEST_INVALID/,
  'build-cache': /: 400 .*MANIFEST_INVALID/,
  'unknown-entries': /: 400 .*MANIFEST_INVALID/,
  'untyped-entries': /: 400 .*MANIFEST_INVALID/,
  'foreign-layers': /: 404 .*BLOB_UNKNOWN/,
  sparse: /: 404 .*MANIFEST_BLOB_UNKNOWN/,
};

const start = (): Promise<Upstream> =>
  Promise.resolve({
    origin: gitea.origin,
    proxy: gitea.proxy,
    registry: registry(),
    prefix: '',
    owner: `${gitea.closed}/`,
    authorization: basic(gitea.login),
    docker: docker(gitea.login.password),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });

tableOf('gitea, with a login', start, REFUSED);

test('an access token that may only read packages opens what is closed', async () => {
  await using cache = await openInteropCache({ registries: { [NAME]: registry() } });
  cache.dockerConfig(docker(gitea.accessToken));
  const image = noiseImage({ name: 'by access token' });
  const target = { origin: gitea.origin, authorization: basic(gitea.login) };
  await pushPlain(image, { ...target, repository: `${gitea.closed}/app` }, 'v1');
  const receipt = await cache.pull(`${NAME}/${gitea.closed}/app:v1`);
  assert.equal(receipt.digest, image.root.digest);
  assert.ok(receipt.registryRequests.token > 0);
});

test('without a login an anonymous token opens what is public, and nothing else', async () => {
  await using cache = await openInteropCache({ registries: { [NAME]: registry() } });
  const image = noiseImage({ name: 'for everyone' });
  const target = { origin: gitea.origin, authorization: basic(gitea.login) };
  for (const owner of [gitea.login.user, gitea.closed])
    await pushPlain(image, { ...target, repository: `${owner}/everyone` }, 'v1');
  const receipt = await cache.pull(`${NAME}/${gitea.login.user}/everyone:v1`);
  assert.equal(receipt.digest, image.root.digest);
  assert.ok(receipt.registryRequests.token > 0);
  const refused = await cache.entrepot(['pull', `${NAME}/${gitea.closed}/everyone:v1`]);
  assert.equal(refused.exitCode, 1, refused.stdout);
  assert.match(refused.stdout, /"code":"(DENIED|MANIFEST_UNKNOWN)"/);
});
