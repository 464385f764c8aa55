import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { multiArchImage, noiseImage } from '../../support/images.ts';
import { install } from '../install.ts';
import { startTokenServer, type Lifetime, type TokenServer } from '../token-server.ts';
import { assertHolds, openInteropCache, type InteropCache } from './cache.ts';
import { closureOf } from './closure.ts';
import { startDockerRegistry, type DockerRegistry } from './docker-registry.ts';
import { push } from './push.ts';

const NAME = 'registry.example.test';
const login = { user: 'harbour', password: 'a password, "quoted"' };
const auth = Buffer.from(`${login.user}:${login.password}`).toString('base64');
const IDENTITY_TOKEN = 'an-identity-token';
const DAY_LONG = { acceptedForMs: 86_400_000, toldSeconds: 86_400 };

let tokens: TokenServer;
let registry: DockerRegistry;
let folder: string;

before(
  async () => {
    await install('docker-registry', 'skopeo', 'openssl');
    folder = mkdtempSync(join(tmpdir(), 'entrepot-token-'));
    tokens = await startTokenServer({
      folder,
      service: 'registry, of the interop suite',
      users: new Map([[login.user, login.password]]),
      identityTokens: new Map([[IDENTITY_TOKEN, login.user]]),
    });
    registry = await startDockerRegistry(join(folder, 'registry'), { kind: 'token', server: tokens });
  },
  { timeout: 300_000 },
);

after(async () => {
  await registry.close();
  await tokens.close();
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  tokens.requests.length = 0;
  Object.assign(tokens.lifetime, DAY_LONG);
  registry.proxy.rules.length = 0;
  registry.proxy.log.length = 0;
});

const openCache = (limits: object = {}): Promise<InteropCache> =>
  openInteropCache({
    registries: { [NAME]: { endpoint: registry.proxy.endpoint, credentials: 'docker' } },
    limits,
  });

const statuses = (): (number | undefined)[] => registry.proxy.log.map(({ status }) => status);

test('one token, for pulling from one repository, serves a whole pull', async () => {
  const image = multiArchImage({ name: 'private', attestations: true });
  await push(image, registry.host, 'team/private', 'v1', login);
  tokens.requests.length = 0;
  await using cache = await openCache();
  cache.dockerConfig({ auths: { [NAME]: { auth } } });
  const receipt = await cache.pull(`${NAME}/team/private:v1`, 'linux/amd64');
  await assertHolds(cache, registry, closureOf(image, 'linux/amd64'));
  assert.deepEqual(
    tokens.requests.map(({ account, scopes }) => ({ account, scopes })),
    [{ account: login.user, scopes: ['repository:team/private:pull'] }],
  );
  assert.equal(receipt.registryRequests.token, 1);
  assert.equal(receipt.registryRequests.total, registry.proxy.log.length + tokens.requests.length);

  const again = await cache.pull(`${NAME}/team/private:v1`, 'linux/amd64');
  assert.equal(again.registryRequests.total, 0);
  assert.equal(tokens.requests.length, 1);
});

test('an identity token is exchanged by the POST form', async () => {
  const image = multiArchImage({ name: 'identity' });
  await push(image, registry.host, 'team/identity', 'v1', login);
  tokens.requests.length = 0;
  await using cache = await openCache();
  cache.dockerConfig({
    auths: { [NAME]: { auth: Buffer.from('<token>:').toString('base64'), identitytoken: IDENTITY_TOKEN } },
  });
  await cache.pull(`${NAME}/team/identity:v1`, 'linux/amd64');
  assert.deepEqual(
    tokens.requests.map(({ method, granted }) => [method, granted]),
    [['POST', true]],
  );
});

test('without a login an anonymous token opens what is public, and nothing else', async () => {
  const image = multiArchImage({ name: 'public' });
  await push(image, registry.host, 'public/app', 'v1', login);
  await push(image, registry.host, 'team/secret', 'v1', login);
  await using cache = await openCache();
  await cache.pull(`${NAME}/public/app:v1`, 'linux/amd64');
  assert.equal(tokens.requests.at(-1)?.account, undefined);

  const denied = await cache.entrepot(['pull', `${NAME}/team/secret:v1`, '--platform', 'linux/amd64']);
  assert.equal(denied.exitCode, 1);
  assert.equal((denied.documents[0] as { error: { code: string } }).error.code, 'DENIED', denied.stdout);
});

test('a wrong password is DENIED, and printed nowhere', async () => {
  await using cache = await openCache();
  const wrong = 'wrong-and-secret';
  cache.dockerConfig({ auths: { [NAME]: { auth: Buffer.from(`${login.user}:${wrong}`).toString('base64') } } });
  const result = await cache.entrepot(['pull', `${NAME}/team/private:v1`]);
  assert.equal(result.exitCode, 1);
  assert.equal((result.documents[0] as { error: { code: string } }).error.code, 'DENIED', result.stdout);
  assert.ok(!`${result.stdout}${result.stderr}`.includes(wrong));
});

/** Pulls an image slowly: one blob after the other, each held up. */
async function pullSlowly(name: string, layers: number, delayMs: number, lifetime: Lifetime): Promise<Receipt> {
  const image = noiseImage({ name, layerBytes: Array.from({ length: layers }, (_, i) => 100_000 + i) });
  await push(image, registry.host, `team/${name}`, 'v1', login);
  tokens.requests.length = 0;
  Object.assign(tokens.lifetime, lifetime);
  registry.proxy.rules.push({ method: 'GET', path: /\/blobs\//, times: Infinity, action: { kind: 'delay', delayMs } });
  await using cache = await openCache({ parallelBlobs: 1 });
  cache.dockerConfig({ auths: { [NAME]: { auth } } });
  const receipt = await cache.pull(`${NAME}/team/${name}:v1`, 'linux/amd64');
  await assertHolds(cache, registry, closureOf(image));
  return receipt;
}

test('a token that expires in the middle of a pull, sooner than the client was told, is replaced', async () => {
  // Accepted for one to two seconds, of four and more.
  const receipt = await pullSlowly('expiring', 10, 400, { acceptedForMs: 1_000, toldSeconds: 300 });
  assert.equal(receipt.blobs.copied, 11);
  assert.ok(tokens.requests.length >= 2, `${tokens.requests.length} tokens`);
  const refused = statuses().filter((status) => status === 401).length;
  assert.ok(refused >= 2, 'the challenge, and at least once an expired token');
  assert.equal(receipt.registryRequests.token, tokens.requests.length);
});

test('a token that is told to expire soon is replaced before it does', async () => {
  const receipt = await pullSlowly('honest', 6, 600, { acceptedForMs: 60_000, toldSeconds: 2 });
  assert.equal(receipt.outcome, 'pulled');
  // How early is the client's choice; that no request was refused but the first is not.
  assert.ok(statuses().filter((status) => status === 401).length <= 1);
});
