import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type * as ApiFunction from '../../../functions/api.ts';
import type { AccessSettings } from '../../../lib/access/access.ts';
import { authenticator } from '../../../lib/access/authenticator.ts';
import { secretsSigningKey } from '../../../lib/access/secrets-signing-key.ts';
import { secretsUsers } from '../../../lib/access/secrets-users.ts';
import { ConfigError, CredentialsError, CacheError } from '../../../lib/errors/cache-error.ts';
import type { TokenDocument } from '../../../lib/http/control/deployment.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { openCache, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { api, eventOf, ROLE, signedBy, withToken, type Asked } from './api-bench.ts';

const CALLER = 'arn:aws:iam::123456789012:role/ci';
const signal = new AbortController().signal;
const basic = ({ username, password }: Pick<TokenDocument, 'username' | 'password'>): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

let bench: Bench;
let cache: TestCache;
let handler: (typeof ApiFunction)['handler'];

/** Secrets by their names, and how often each was asked for. */
const secrets = new Map<string, string>();
const asked: string[] = [];
let refusal: string | undefined;
const secretsManager = createServer((request, response) => {
  void text(request).then((body) => {
    const { SecretId: id } = JSON.parse(body) as { SecretId: string };
    asked.push(id);
    const value = refusal === undefined ? secrets.get(id) : undefined;
    const failure = { __type: refusal ?? 'ResourceNotFoundException', message: 'not here' };
    response.writeHead(value === undefined ? 400 : 200, { 'content-type': 'application/x-amz-json-1.1' });
    response.end(JSON.stringify(value === undefined ? failure : { Name: id, SecretString: value }));
  });
});

before(async () => {
  bench = await startBench();
  const registries = { 'docker.io': {}, 'ghcr.io': {} };
  cache = await bench.use(openCache(bench.stack, { registries }));
  secretsManager.listen(0, '127.0.0.1');
  await once(secretsManager, 'listening');
  const { port } = secretsManager.address() as AddressInfo;
  const file = join(bench.stack.root, 'entrepot.yaml');
  writeFileSync(file, JSON.stringify({ registries }));
  const { ENTREPOT_SIGNING_KEY_FILE: _file, ...environment } = bench.stack.environment;
  secrets.set('arn:aws:secretsmanager:us-east-1:123456789012:secret:Signing-AbCdEf', 'k'.repeat(64));
  Object.assign(process.env, environment, {
    AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${port}`,
    ENTREPOT_SIGNING_SECRET: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:Signing-AbCdEf',
    ENTREPOT_CONFIG: file,
    POWERTOOLS_METRICS_DISABLED: 'true',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
  });
  ({ handler } = await import('../../../functions/api.ts'));
});
after(async () => {
  secretsManager.closeAllConnections();
  secretsManager.close();
  await bench[Symbol.asyncDispose]();
});

async function ask(one: Asked): Promise<{ status: number; headers: object; body: unknown }> {
  const answer = (await handler(eventOf(one), lambdaContext())) as APIGatewayProxyStructuredResultV2;
  return { status: answer.statusCode ?? 0, headers: answer.headers ?? {}, body: JSON.parse(answer.body ?? 'null') };
}

describe('POST /v1/token of the function', () => {
  const path = '/v1/token';

  test('mints a password for the role of the caller, by the secret, which is read once', async () => {
    asked.length = 0;
    const beforeMs = Date.now();
    const { status, headers, body } = await ask({ method: 'POST', path, authorizer: signedBy(ROLE) });
    assert.equal(status, 200);
    assert.equal((headers as Record<string, unknown>)['cache-control'], 'no-store');
    const token = body as TokenDocument;
    const leftMs = Date.parse(token.expiresAt) - beforeMs;
    assert.ok(leftMs > 3_590_000 && leftMs <= 3_601_000);
    for (let times = 0; times < 3; times += 1) await ask({ method: 'POST', path });
    assert.equal(asked.length, 1);

    const { publishedKey } = cache.services;
    const rules = [{ callers: [CALLER], repositories: ['ghcr.io/org/**'] }];
    const keeper = authenticator({
      auth: { kind: 'basic' },
      rules,
      users: { read: () => assert.fail() },
      publishedKey,
    });
    const puller = await keeper.admit(basic(token), signal);
    assert.equal(puller.name, CALLER);
    assert.ok(puller.mayUse(parseReference('ghcr.io/org/app').repository));
    assert.ok(!puller.mayUse(parseReference('alpine').repository));
  });

  test('for as long as is asked for, up to an hour', async () => {
    const { body } = await ask({ path, body: { lifetimeSeconds: 60 } });
    const leftMs = Date.parse((body as TokenDocument).expiresAt) - Date.now();
    assert.ok(leftMs > 55_000 && leftMs <= 60_000);
    for (const lifetimeSeconds of [0, 3_601, 1.5, '60', null]) {
      const { status, body: problem } = await ask({ path, body: { lifetimeSeconds } });
      assert.deepEqual([status, (problem as { field?: string }).field], [400, 'lifetimeSeconds']);
    }
    assert.equal((await ask({ path, body: { seconds: 5 } })).status, 400);
    assert.equal((await ask({ path, body: [] })).status, 400);
  });

  test('for nobody else', async () => {
    assert.equal((await ask({ method: 'POST', path, authorizer: {} })).status, 401);
    assert.equal((await ask({ path, authorizer: signedBy(ROLE) })).status, 405);
  });
});

describe('POST /v1/token of the API', () => {
  const path = '/v1/token';
  /** With a key of its own, and no memory of the function's, whose public half is in the same row. */
  let cache: TestCache;
  before(async () => {
    cache = await bench.use(openCache(bench.stack, { registries: { 'docker.io': {}, 'ghcr.io': {} } }));
  });

  test('is as docs/openapi.json says, and tells the log nothing of the password', async () => {
    const { body, lines } = await api(cache.services)({ method: 'POST', path });
    const { password } = body as TokenDocument;
    assert.ok(!JSON.stringify(lines).includes(password));
    const { publishedKey, users } = cache.services;
    const keeper = authenticator({ auth: { kind: 'basic' }, rules: [], users, publishedKey });
    assert.equal((await keeper.admit(basic(body as TokenDocument), signal)).name, CALLER);
  });

  test('mints the values of the claim of a JWT, and nothing for a token that may not call', async () => {
    const claim = { name: 'groups', anyOf: ['dev-*'] };
    const access: AccessSettings = {
      jwt: { issuer: 'https://issuer.example.test', audience: ['cache'], claim },
      rules: [{ callers: ['dev-a'], repositories: ['ghcr.io/a/**'] }],
    };
    const asking = (groups: string) =>
      api(cache.services, access)({ method: 'POST', path, authorizer: withToken({ sub: 'jane', groups }) });
    assert.equal((await asking('[ops]')).status, 403);
    const { body } = await asking('[ops dev-a]');
    const { publishedKey, users } = cache.services;
    const keeper = authenticator({ auth: { kind: 'basic' }, rules: access.rules, users, publishedKey });
    const puller = await keeper.admit(basic(body as TokenDocument), signal);
    assert.equal(puller.name, 'jane');
    assert.ok(puller.mayUse(parseReference('ghcr.io/a/app').repository));
    assert.ok(!puller.mayUse(parseReference('ghcr.io/b/app').repository));
  });

  test('is not there without a secret to sign with', async () => {
    const { signingKey: _key, ...bare } = cache.services;
    const { status, body } = await api(bare)({ method: 'POST', path });
    assert.equal(status, 404);
    assert.match((body as { detail: string }).detail, /ENTREPOT_SIGNING_SECRET/);
  });
});

describe('secrets of Secrets Manager', () => {
  test('that are not there, or may not be read, last; others may pass; none is told', async () => {
    const read = () => secretsSigningKey('absent').privateKey(signal);
    await assert.rejects(read(), (error) => error instanceof CredentialsError && error.message.includes('absent'));
    refusal = 'AccessDeniedException';
    await assert.rejects(read(), CredentialsError);
    refusal = 'LimitExceededException';
    await assert.rejects(read(), (error) => error instanceof CacheError && error.retryable);
    refusal = undefined;
  });

  test('hold users, as a list in JSON', async () => {
    const hash = `scrypt$15$8$1$${Buffer.alloc(16).toString('base64url')}$${Buffer.alloc(32).toString('base64url')}`;
    secrets.set('users', JSON.stringify([{ name: 'ci', password: hash, groups: ['build'] }]));
    assert.deepEqual((await secretsUsers('users').read(signal)).get('ci')?.groups, ['build']);
    secrets.set('users', 'hunter2');
    const told = (error: unknown): boolean => error instanceof ConfigError && !error.message.includes('hunter2');
    await assert.rejects(secretsUsers('users').read(signal), told);
  });
});

describe('docker-credential-entrepot, the program', () => {
  const PROGRAM = fileURLToPath(new URL('../../../lib/cli/docker-credential-entrepot.js', import.meta.url));

  async function helper(server: string, environment: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, [PROGRAM, 'get'], {
      env: { PATH: process.env.PATH, HOME: bench.stack.root, ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.end(server);
    const [output] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    return { output, exitCode: child.exitCode };
  }

  test('asks the configured URL alone, and follows no redirect', async () => {
    const requests: IncomingMessage[] = [];
    const answers = [
      { status: 200, body: { username: 'token', password: 'v1.a.b', expiresAt: '2030-01-01T00:00:00.000Z' } },
      { status: 307, body: {}, location: 'http://127.0.0.1:1/v1/token' },
      { status: 403, body: { detail: 'you may not' } },
    ];
    const server = createServer((request, response) => {
      requests.push(request);
      const { status, body, location } = answers.shift() ?? assert.fail();
      response.writeHead(status, location === undefined ? {} : { location }).end(JSON.stringify(body));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const environment = { ENTREPOT_URL: `http://${host}` };
    try {
      const { output, exitCode } = await helper(host, environment);
      assert.equal(exitCode, 0);
      assert.deepEqual(JSON.parse(output), { ServerURL: host, Username: 'token', Secret: 'v1.a.b' });
      assert.deepEqual([requests[0]?.method, requests[0]?.url], ['POST', '/v1/token']);
      assert.match((await helper(host, environment)).output, /answered 307/);
      const refused = await helper(host, environment);
      assert.deepEqual([refused.exitCode, refused.output.trim().endsWith('answered 403: you may not')], [1, true]);
      assert.equal((await helper('docker.io', environment)).output.trim(), 'credentials not found in native keychain');
      assert.equal(requests.length, 3);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
