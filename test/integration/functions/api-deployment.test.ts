import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import manifest from '../../../package.json' with { type: 'json' };
import type { AccessSettings } from '../../../lib/access/access.ts';
import { openCache, startBench, type Bench } from '../../support/cache.ts';
import { api, signedBy, withToken, type ApiServices } from './api-bench.ts';

let bench: Bench;
let services: ApiServices;
const CALLER = 'arn:aws:iam::123456789012:role/ci';
const ARN = 'arn:aws:states:eu-central-1:123456789012:stateMachine:entrepot-dev-pull';

before(async () => {
  bench = await startBench();
  ({ services } = await bench.use(openCache(bench.stack, { registries: { 'docker.io': {} } })));
});
after(() => bench[Symbol.asyncDispose]());

/** On one's own machine nobody is asked who pulls. */
const serve = { front: 'httpApi', auth: 'none', blobEndpoint: null };
const ask = (deployment: ApiServices['deployment'], access: AccessSettings = { rules: [] }) =>
  api({ ...services, deployment }, access);

test('the names of a deployment, with its region and stage by the ARN of its state machine', async () => {
  const deployment = { bucket: 'b', table: 't', stateMachine: ARN, bus: 'entrepot-dev' };
  const { status, body } = await ask(deployment)({ path: '/v1/deployment' });
  assert.equal(status, 200);
  const region = 'eu-central-1';
  assert.deepEqual(body, { version: manifest.version, region, stage: 'dev', ...deployment, serve, caller: CALLER });
});

test('what is not known is null, and names of others tell no stage', async () => {
  const bare = await ask({ bucket: 'b', table: 't' })({ path: '/v1/deployment' });
  const unknown = { region: null, stage: null, stateMachine: null, bus: null };
  assert.deepEqual(bare.body, {
    version: manifest.version,
    bucket: 'b',
    table: 't',
    ...unknown,
    serve,
    caller: CALLER,
  });
  const stateMachine = 'arn:aws-cn:states:cn-north-1:123456789012:stateMachine:pulls';
  const named = await ask({ bucket: 'b', table: 't', stateMachine })({ path: '/v1/deployment' });
  const { region, stage } = named.body as { region: string; stage: null };
  assert.deepEqual([region, stage], ['cn-north-1', null]);
});

test('how it serves, without saying where users and their passwords are', async () => {
  const config = {
    serve: {
      ...services.config.serve,
      front: 'alb',
      auth: { kind: 'basic', users: { secretId: 'entrepot/users' } },
      blobEndpoint: new URL('https://blobs.example.test/'),
    },
  } as const;
  const { body, text } = await api({ ...services, config })({ path: '/v1/deployment' });
  const expected = { front: 'alb', auth: 'basic', blobEndpoint: 'https://blobs.example.test' };
  assert.deepEqual((body as { serve: unknown }).serve, expected);
  assert.ok(!text.includes('entrepot/users'));
});

test('the connection that services were opened with is told, and no more of it', async () => {
  const { body, text } = await api(services)({ path: '/v1/deployment' });
  const { bucket, table } = body as { bucket: string; table: string };
  assert.deepEqual([bucket, table], [bench.stack.bucket, bench.stack.table]);
  assert.ok(!text.includes(bench.stack.credentials.secretAccessKey) && !text.includes('127.0.0.1'));
});

test('whoever may call may ask, whatever repositories it may use; nobody else', async () => {
  const path = '/v1/deployment';
  const rules = [{ callers: ['arn:aws:iam::123456789012:role/other'], repositories: ['**'] }];
  assert.equal((await ask(services.deployment, { rules })({ path })).status, 200);
  assert.equal((await ask(services.deployment)({ path, authorizer: {} })).status, 401);
  assert.equal((await ask(services.deployment)({ path, method: 'POST' })).status, 405);
  const claim = { name: 'groups', anyOf: ['cache'] };
  const jwt = { issuer: 'https://issuer.example.test', audience: ['cache'], claim };
  const withClaim = (groups: string) =>
    ask(services.deployment, { jwt, rules: [] })({ path, authorizer: withToken({ sub: 'me', groups }) });
  assert.equal(((await withClaim('[cache other]')).body as { caller: string }).caller, 'me');
  assert.equal((await withClaim('[other]')).status, 403);
  const signed = ask(services.deployment, { jwt, rules: [] })({ path, authorizer: signedBy(CALLER) });
  assert.equal((await signed).status, 401);
});
