import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, test } from 'node:test';
import { ConfigError, DeniedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { createUpstreams } from '../../../lib/registry/client.ts';
import type { CredentialSource } from '../../../lib/registry/settings.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import type { TestUpstream } from '../../support/upstream/upstream.ts';
import { addManifest, LIMITS, PATH, soon, tagged, upstreamForTest } from './client-under-test.ts';

const ECR = '123456789012.dkr.ecr.eu-central-1.amazonaws.com';
const ROLE = 'arn:aws:iam::123456789012:role/reader';

/** What AWS was asked, over HTTP by the real SDK: operation, form or JSON, and who signed. */
const asked: { operation: string; body: string; signedBy: string }[] = [];
let secret: string | undefined;
let failure: string | undefined;
let ecrExpiresInSeconds = 12 * 3600;
const environment = { ...process.env };

const aws = createServer((request, response) => {
  void text(request).then((body) => {
    const target = request.headers['x-amz-target'];
    const operation =
      typeof target === 'string' ? target.replace(/^.*\./, '') : (new URLSearchParams(body).get('Action') ?? 'unknown');
    const signedBy = /Credential=([^/]+)/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    asked.push({ operation, body, signedBy });
    if (failure !== undefined) {
      response.writeHead(failure === 'InternalServiceError' ? 500 : 400, {
        'content-type': 'application/x-amz-json-1.1',
      });
      response.end(JSON.stringify({ __type: failure, message: 'no' }));
      return;
    }
    response.writeHead(200, { 'content-type': operation === 'AssumeRole' ? 'text/xml' : 'application/x-amz-json-1.1' });
    response.end(answerTo(operation));
  });
});

function answerTo(operation: string): string {
  if (operation === 'GetSecretValue') return JSON.stringify({ Name: 'registry', SecretString: secret });
  if (operation === 'AssumeRole') {
    return `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
      <AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`;
  }
  const authorizationToken = Buffer.from('AWS:ecr-word').toString('base64');
  return JSON.stringify({
    authorizationData: [{ authorizationToken, expiresAt: Date.now() / 1000 + ecrExpiresInSeconds }],
  });
}

before(async () => {
  await new Promise<void>((resolve) => aws.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(aws.address() as AddressInfo).port}`;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: 'OURS',
    AWS_SECRET_ACCESS_KEY: 'x',
    AWS_REGION: 'eu-west-1',
    AWS_MAX_ATTEMPTS: '1',
  });
});
after(() => {
  process.env = environment;
  aws.closeAllConnections();
  aws.close();
});
beforeEach(() => {
  asked.length = 0;
  failure = undefined;
  ecrExpiresInSeconds = 12 * 3600;
});

async function open(upstream: TestUpstream, name: string, credentials: CredentialSource): Promise<Upstream> {
  const settings = {
    name,
    endpoint: new URL(upstream.origin),
    endpointMayBePrivate: true,
    mirrors: [],
    isPublic: true,
    credentials,
    realms: [],
    redirects: [],
    passRedirects: [],
    allow: [],
    platforms: [],
    maxConnections: 8,
  };
  const upstreams = createUpstreams({ registries: new Map([[name, settings]]), limits: { ...LIMITS, attempts: 1 } });
  after(() => upstreams.close());
  return await upstreams.open({ registry: name, path: PATH });
}

test('a secret is read once, kept, and read again when it is refused', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { bob: 'new-word' } } });
  const { descriptor } = addManifest(upstream);
  secret = JSON.stringify({ username: 'bob', password: 'old-word' });
  const repository = await open(upstream, 'registry.example.test', { kind: 'secret', secretId: 'registry' });
  assert.match(repository.domain, /^registry\.example\.test#[0-9a-f]{16}$/);
  await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
  secret = JSON.stringify({ username: 'bob', password: 'new-word' });
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  const reads = asked.length;
  await repository.readManifest(descriptor.digest, soon());
  assert.equal(asked.length, reads);
  assert.deepEqual(JSON.parse(asked[0]!.body), { SecretId: 'registry' });
});

test('a secret may hold an identity token', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', refreshTokens: ['refresh-me'] } });
  addManifest(upstream);
  secret = JSON.stringify({ identityToken: 'refresh-me' });
  const repository = await open(upstream, 'registry.example.test', { kind: 'secret', secretId: 'registry' });
  await repository.resolve(tagged(), soon());
  assert.equal(upstream.count({ kind: 'token', method: 'POST' }), 1);
});

test('a secret that is wrong, missing or unreachable is told apart, and shown nowhere', async () => {
  const upstream = await upstreamForTest();
  const opening = (): Promise<Upstream> =>
    open(upstream, 'registry.example.test', { kind: 'secret', secretId: 'registry' });
  for (const content of ['hunter2', '{"password":"hunter2"}', '["hunter2"]', undefined]) {
    secret = content;
    await assert.rejects(opening(), (error) => error instanceof ConfigError && !error.message.includes('hunter2'));
  }
  failure = 'ResourceNotFoundException';
  await assert.rejects(opening(), ConfigError);
  failure = 'InternalServiceError';
  await assert.rejects(opening(), UpstreamUnavailableError);
});

test('ECR: one token, used as Basic and kept until it nears its end', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { AWS: 'ecr-word' } } });
  const { descriptor } = addManifest(upstream);
  const repository = await open(upstream, ECR, { kind: 'ecr' });
  await repository.resolve(tagged(), soon());
  await repository.readManifest(descriptor.digest, soon());
  assert.deepEqual(
    asked.map(({ operation, signedBy }) => [operation, signedBy]),
    [['GetAuthorizationToken', 'OURS']],
  );
  assert.deepEqual(repository.requests, { total: 3, ping: 1, token: 0, manifest: 2, blob: 0, redirected: 0 });

  ecrExpiresInSeconds = 0;
  const expiring = await open(upstream, ECR, { kind: 'ecr' });
  asked.length = 0;
  await expiring.resolve(tagged(), soon());
  assert.ok(asked.length >= 1, 'one at its end is not used again');
});

test('ECR through a role of another account', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { AWS: 'ecr-word' } } });
  addManifest(upstream);
  const repository = await open(upstream, ECR, { kind: 'ecr', roleArn: ROLE, externalId: 'ours-only' });
  await repository.resolve(tagged(), soon());
  assert.deepEqual(
    asked.map(({ operation, signedBy }) => [operation, signedBy]),
    [
      ['AssumeRole', 'OURS'],
      ['GetAuthorizationToken', 'ASSUMED'],
    ],
  );
  const form = new URLSearchParams(asked[0]!.body);
  assert.deepEqual([form.get('RoleArn'), form.get('ExternalId')], [ROLE, 'ours-only']);
  const own = await open(upstream, ECR, { kind: 'ecr' });
  assert.notEqual(own.domain, repository.domain);
});

test('ECR credentials for what is no ECR registry, or without the right, are configuration errors', async () => {
  const upstream = await upstreamForTest();
  await assert.rejects(open(upstream, 'registry.example.test', { kind: 'ecr' }), /neither its name nor its endpoint/);
  failure = 'AccessDeniedException';
  await assert.rejects(open(upstream, ECR, { kind: 'ecr' }), ConfigError);
});
