import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { DeniedError } from '../../../lib/errors/cache-error.ts';
import { openCache, startBench, type Bench } from '../../support/cache.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { startUpstream, type UpstreamAuth } from '../../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';
const SECRET = 'entrepot/registry';

let bench: Bench;
/** What Secrets Manager holds. */
let password = '';
/** How often it was asked, and for what. */
const asked: unknown[] = [];
const environment = { ...process.env };

const secretsManager = createServer((request, response) => {
  void text(request).then((body) => {
    assert.equal(request.headers['x-amz-target'], 'secretsmanager.GetSecretValue');
    asked.push((JSON.parse(body) as { SecretId: unknown }).SecretId);
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
    response.end(JSON.stringify({ Name: SECRET, SecretString: JSON.stringify({ username: 'robot', password }) }));
  });
});

before(async () => {
  bench = await startBench();
  await new Promise<void>((resolve) => secretsManager.listen(0, '127.0.0.1', resolve));
  const { port } = secretsManager.address() as AddressInfo;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${port}`,
    AWS_ACCESS_KEY_ID: 'OURS',
    AWS_SECRET_ACCESS_KEY: 'x',
    AWS_REGION: 'eu-west-1',
  });
});
after(async () => {
  process.env = environment;
  secretsManager.closeAllConnections();
  secretsManager.close();
  await bench[Symbol.asyncDispose]();
});

const schemes: [string, (users: Record<string, string>) => UpstreamAuth][] = [
  ['Basic', (users) => ({ kind: 'basic', users })],
  ['tokens', (users) => ({ kind: 'bearer', users })],
];

describe('a secret that is rotated while the process lives', () => {
  for (const [name, authOf] of schemes) {
    test(`is read again when the registry refuses the old one, with ${name}`, async () => {
      asked.length = 0;
      const users: Record<string, string> = { robot: 'first' };
      password = 'first';
      const upstream = await bench.use(startUpstream({ auth: authOf(users) }));
      const repository = `team/rotated-${name.replaceAll(' ', '-').toLowerCase()}`;
      for (const tag of ['a', 'b', 'c'])
        upstream.addImage(repository, upstreamImage(noiseImage({ name: `${name} ${tag}` }), tag));
      const settings = { endpoint: upstream.origin, credentials: { secret: SECRET }, allow: ['team/**'] };
      const cache = await bench.use(openCache(bench.stack, { registries: { [REGISTRY]: settings } }));

      assert.equal((await cache.pull(`${REGISTRY}/${repository}:a`)).outcome, 'pulled');
      assert.equal((await cache.pull(`${REGISTRY}/${repository}:b`)).outcome, 'pulled');
      assert.deepEqual(asked, [SECRET], 'read once, and kept');

      users.robot = 'second';
      password = 'second';
      upstream.revokeTokens();
      assert.equal((await cache.pull(`${REGISTRY}/${repository}:c`)).outcome, 'pulled');
      assert.deepEqual(asked, [SECRET, SECRET], 'once more');
    });
  }

  test('is refused where the registry has rotated, but the secret has not; and mended by the secret alone', async () => {
    const users: Record<string, string> = { robot: 'third' };
    password = 'old';
    const upstream = await bench.use(startUpstream({ auth: { kind: 'bearer', users } }));
    upstream.addImage('team/late', upstreamImage(noiseImage({ name: 'late' }), 'v1'));
    const settings = { endpoint: upstream.origin, credentials: { secret: SECRET }, allow: ['team/**'] };
    const cache = await bench.use(openCache(bench.stack, { registries: { [REGISTRY]: settings } }));
    await assert.rejects(cache.pull(`${REGISTRY}/team/late:v1`), (error) => {
      assert.ok(error instanceof DeniedError);
      assert.doesNotMatch(error.message, /old|third/);
      return true;
    });
    password = 'third';
    assert.equal((await cache.pull(`${REGISTRY}/team/late:v1`)).outcome, 'pulled');
  });
});
