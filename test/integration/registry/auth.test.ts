import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeniedError, UpstreamRefusedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { times, when, type UpstreamRequest } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  addManifest,
  clientOf,
  openRepository,
  PATH,
  readBlob,
  REGISTRY,
  soon,
  tagged,
  upstreamForTest,
  type ClientOptions,
} from './client-under-test.ts';

let folder = '';
let files = 0;
before(async () => (folder = await mkdtemp(join(tmpdir(), 'entrepot-auth-'))));
after(() => rm(folder, { recursive: true }));

/** A docker configuration that logs in to the registry. */
async function loggedIn(entry: object): Promise<ClientOptions & { dockerConfigPath: string }> {
  const dockerConfigPath = join(folder, `config-${files++}.json`);
  await writeFile(dockerConfigPath, JSON.stringify({ auths: { [REGISTRY]: entry } }));
  return { dockerConfigPath, settings: { credentials: { kind: 'docker' } } };
}

const bob = { username: 'bob', password: 'hunter2:colon' };
const users = { bob: 'hunter2:colon' };

test('anonymous token: the first 401 tells how, one token serves the whole pull', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', service: 'the, service' } });
  const { descriptor } = addManifest(upstream);
  const blobs = [addBlob(upstream), addBlob(upstream), addBlob(upstream)];
  const repository = await openRepository(upstream.origin);
  const { digest } = await repository.resolve(tagged(), soon());
  assert.equal(digest, descriptor.digest);
  await repository.readManifest(digest, soon());
  await Promise.all(blobs.map((blob) => readBlob(repository, blob)));
  assert.equal(repository.domain, PUBLIC);
  assert.deepEqual(repository.requests, { total: 7, ping: 0, token: 1, manifest: 3, blob: 3, redirected: 0 });
  const token = upstream.requests.find(({ kind }) => kind === 'token');
  assert.equal(token?.method, 'GET');
  assert.equal(token.headers.authorization, undefined);
  assert.deepEqual(Object.fromEntries(token.query), { service: 'the, service', scope: `repository:${PATH}:pull` });
});

/** Docker and podman keep what they decoded as bytes, and send these. */
for (const [what, login] of [
  ['a password in Latin-1', Buffer.from('bob:p\u00e4ss-\u00ff-word', 'latin1')],
  ['a user and a password in Latin-1', Buffer.from('j\u00f6rg:p\u00e4ssword', 'latin1')],
  ['bytes of no text', Buffer.from([0x62, 0x3a, 0xc3, 0x28, 0xff, 0x80, 0x41, 0x42])],
  ['a password in UTF-8', Buffer.from('bob:p\u00e4ssword \u{1f511}')],
] as const) {
  test(`${what} goes byte for byte as it stands in "auth"`, async () => {
    const options = await loggedIn({ auth: login.toString('base64') });
    for (const kind of ['basic', 'bearer'] as const) {
      const upstream = await upstreamForTest({ auth: { kind, users } });
      const { descriptor } = addManifest(upstream);
      const isRight = ({ headers }: UpstreamRequest): boolean =>
        headers.authorization === `Basic ${login.toString('base64')}`;
      upstream.fault((asked, answer) =>
        kind === 'basic' && asked.kind === 'manifest' && isRight(asked)
          ? { status: 200, headers: { 'docker-content-digest': descriptor.digest }, body: answer.body }
          : undefined,
      );
      const repository = await openRepository(upstream.origin, options);
      if (kind === 'basic') assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
      else await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
      const sent = upstream.requests.filter(({ headers }) => headers.authorization !== undefined);
      assert.ok(sent.length > 0 && sent.every(isRight), kind);
    }
  });

  test(`${what} goes byte for byte in the form of OAuth2, and comes back in no error`, async () => {
    const options = await loggedIn({ auth: login.toString('base64') });
    const upstream = await upstreamForTest({ auth: { kind: 'bearer', users } });
    addManifest(upstream);
    const [user, password] = [login.subarray(0, login.indexOf(':')), login.subarray(login.indexOf(':') + 1)];
    const encoded = (bytes: Uint8Array): string =>
      [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    const forms = [
      password,
      password.toString('hex'),
      password.toString('base64'),
      login.toString('base64'),
      encoded(password),
    ];
    for (const said of forms) {
      upstream.clearFaults();
      upstream.requests.length = 0;
      upstream.fault(when({ kind: 'token', method: 'GET' }, { status: 405 }));
      const body = Buffer.concat([Buffer.from('wrong: '), Buffer.from(said), Buffer.from(' it is')]);
      upstream.fault(when({ kind: 'token' }, { status: 401, headers: { 'content-type': 'text/plain' }, body }));
      const repository = await openRepository(upstream.origin, options);
      await assert.rejects(repository.resolve(tagged(), soon()), (error: Error) => {
        assert.match(error.message, /wrong: … it is/);
        return error instanceof DeniedError;
      });
      const form = upstream.requests.find(({ method }) => method === 'POST')?.body ?? '';
      const bytesOf = (name: string): Buffer => {
        const value = new RegExp(`(?:^|&)${name}=([^&]*)`).exec(form)?.[1] ?? '';
        return Buffer.from(
          value.replaceAll('+', ' ').replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
          'latin1',
        );
      };
      assert.deepEqual([bytesOf('username'), bytesOf('password')], [user, password]);
    }
  });
}

test('one token for concurrent requests, one per repository, kept for the next pull', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const blobs = Array.from({ length: 8 }, () => addBlob(upstream));
  upstream.fault(when({ kind: 'token' }, { delayMs: 50 }));
  const upstreams = clientOf(upstream.origin);
  const repository = await upstreams.open({ registry: REGISTRY, path: PATH });
  await Promise.all(blobs.map((blob) => readBlob(repository, blob)));
  assert.equal(upstream.count({ kind: 'token' }), 1);
  const again = await upstreams.open({ registry: REGISTRY, path: PATH });
  await readBlob(again, blobs[0]!);
  assert.deepEqual(again.requests, { total: 1, ping: 0, token: 0, manifest: 0, blob: 1, redirected: 0 });
  upstream.putBlob('team/other', blobs[0]!.bytes);
  await readBlob(await upstreams.open({ registry: REGISTRY, path: 'team/other' }), blobs[0]!);
  assert.equal(upstream.count({ kind: 'token' }), 2);
});

test('a caller that gives up does not take the shared token from the others', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const blob = addBlob(upstream);
  upstream.fault(when({ kind: 'token' }, { delayMs: 150 }));
  const repository = await openRepository(upstream.origin);
  const leaving = new AbortController();
  const reason = new Error('left');
  const left = assert.rejects(repository.openBlob(blob.descriptor, 0, leaving.signal), (error) => error === reason);
  await sleep(50);
  const staying = readBlob(repository, blob);
  await sleep(30);
  leaving.abort(reason);
  await left;
  assert.deepEqual(await staying, blob.bytes);
  assert.equal(upstream.count({ kind: 'token' }), 1);
});

test('with credentials: one ping, Basic to the realm, a private domain', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users } });
  const { descriptor } = addManifest(upstream);
  const repository = await openRepository(upstream.origin, await loggedIn(bob));
  assert.match(repository.domain, /^registry\.example\.test#[0-9a-f]{16}$/);
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  await repository.readManifest(descriptor.digest, soon());
  assert.deepEqual(repository.requests, { total: 4, ping: 1, token: 1, manifest: 2, blob: 0, redirected: 0 });
  const withBasic = upstream.requests.filter(({ headers }) => headers.authorization?.startsWith('Basic ') === true);
  assert.deepEqual(
    withBasic.map(({ kind }) => kind),
    ['token'],
  );
});

test('credentials of a namespace are for its repositories alone, the most specific first, each a domain of its own', async () => {
  const upstream = await upstreamForTest({
    auth: { kind: 'basic', users: { whole: '1', team: '2', app: '3', same: '4' } },
  });
  const dockerConfigPath = join(folder, `config-${files++}.json`);
  const auths = {
    [REGISTRY]: { username: 'whole', password: '1' },
    [`${REGISTRY}/team`]: { username: 'team', password: '2' },
    [`${REGISTRY}/team/app`]: { username: 'app', password: '3' },
    [`${REGISTRY}/a`]: { username: 'same', password: '4' },
    [`${REGISTRY}/b`]: { username: 'same', password: '4' },
  };
  await writeFile(dockerConfigPath, JSON.stringify({ auths }));
  const upstreams = clientOf(upstream.origin, { dockerConfigPath, settings: { credentials: { kind: 'docker' } } });
  const domains = new Set<string>();
  for (const [path, user] of [
    ['team/app', 'app'],
    ['team/app/deep', 'app'],
    ['team/apple', 'team'],
    ['team', 'team'],
    ['teams/app', 'whole'],
    ['other', 'whole'],
    ['a/x', 'same'],
    ['b/x', 'same'],
  ] as const) {
    const bytes = Buffer.from(`of ${path}`);
    upstream.putManifest(path, 'v1', bytes, 'application/vnd.oci.image.manifest.v1+json');
    const repository = await upstreams.open({ registry: REGISTRY, path });
    await repository.resolve(parseReference(`${REGISTRY}/${path}:v1`), soon());
    const sent = upstream.requests.findLast((request) => request.repository === path)?.headers.authorization ?? '';
    assert.match(Buffer.from(sent.replace('Basic ', ''), 'base64').toString(), new RegExp(`^${user}:`), path);
    domains.add(repository.domain);
  }
  assert.equal(domains.size, 5);
});

test('a registry token is sent as it is, without ping and realm, and read again where it is refused', async () => {
  const upstream = await upstreamForTest();
  const { descriptor } = addManifest(upstream);
  let accepted = 'first';
  upstream.fault((request) =>
    request.headers.authorization === `Bearer ${accepted}`
      ? undefined
      : { status: 401, headers: { 'www-authenticate': `Bearer realm="${upstream.origin}/token"` } },
  );
  const options = await loggedIn({ ...bob, registrytoken: 'first' });
  const repository = await openRepository(upstream.origin, options);
  await repository.readManifest(descriptor.digest, soon());
  assert.deepEqual(repository.requests, { total: 1, ping: 0, token: 0, manifest: 1, blob: 0, redirected: 0 });
  accepted = 'second';
  await assert.rejects(repository.readManifest(descriptor.digest, soon()), DeniedError);
  await writeFile(options.dockerConfigPath, JSON.stringify({ auths: { [REGISTRY]: { registrytoken: 'second' } } }));
  await repository.readManifest(descriptor.digest, soon());
  assert.equal(upstream.count({ kind: 'token' }), 0);
});

test('concurrent first requests with credentials share the ping', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users } });
  const blobs = Array.from({ length: 5 }, () => addBlob(upstream));
  const repository = await openRepository(upstream.origin, await loggedIn(bob));
  await Promise.all(blobs.map((blob) => readBlob(repository, blob)));
  assert.deepEqual(repository.requests, { total: 7, ping: 1, token: 1, manifest: 0, blob: 5, redirected: 0 });
});

test('an identity token is exchanged by POST', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', service: 's', refreshTokens: ['refresh-me'] } });
  addManifest(upstream);
  const repository = await openRepository(upstream.origin, await loggedIn({ identitytoken: 'refresh-me' }));
  await repository.resolve(tagged(), soon());
  const token = upstream.requests.find(({ kind }) => kind === 'token');
  assert.equal(token?.method, 'POST');
  assert.deepEqual(Object.fromEntries(new URLSearchParams(token.body)), {
    client_id: 'entrepot',
    grant_type: 'refresh_token',
    refresh_token: 'refresh-me',
    service: 's',
    scope: `repository:${PATH}:pull`,
  });
});

test('a realm that knows POST alone gets the password by form', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users } });
  addManifest(upstream);
  upstream.fault(when({ kind: 'token', method: 'GET' }, { status: 405 }));
  const repository = await openRepository(upstream.origin, await loggedIn(bob));
  await repository.resolve(tagged(), soon());
  assert.equal(repository.requests.token, 2);
});

test('access_token is as good as token, and no expires_in is 60 s', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', field: 'access_token', tellExpiry: false } });
  const { descriptor } = addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  await repository.resolve(tagged(), soon());
  await repository.readManifest(descriptor.digest, soon());
  assert.equal(repository.requests.token, 1);
});

test('a byte order mark before a token means nothing, as before a manifest', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const blob = addBlob(upstream);
  upstream.fault(when({ kind: 'token' }, ({ body }) => ({ body: Buffer.concat([Buffer.from('\ufeff'), body]) })));
  const repository = await openRepository(upstream.origin);
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.equal(repository.requests.token, 1);
});

test('a token that is known to expire is renewed without a 401', async (context) => {
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', expiresInSeconds: 70 } });
  const { descriptor } = addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  await repository.resolve(tagged(), soon());
  context.mock.timers.tick(65_000);
  await repository.readManifest(descriptor.digest, soon());
  assert.deepEqual(repository.requests, { total: 5, ping: 0, token: 2, manifest: 3, blob: 0, redirected: 0 });
});

for (const told of ['0', '1', '-1', '59', '"300"', 'null', '1e300']) {
  test(`a token that is said to live for ${told} seconds lives a minute at least: not one token for each request`, async () => {
    const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
    const blobs = Array.from({ length: 6 }, () => addBlob(upstream));
    upstream.fault(
      when({ kind: 'token' }, ({ body }) => {
        const { token } = JSON.parse(String(body)) as { token: string };
        return { body: Buffer.from(`{"token":${JSON.stringify(token)},"expires_in":${told}}`) };
      }),
    );
    const repository = await openRepository(upstream.origin);
    for (const blob of blobs) assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    assert.equal(repository.requests.token, 1);
  });
}

test('400 for a token that expired (ECR Public) is a reason for a new one, once; other requests are not asked twice', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const blob = addBlob(upstream);
  const { descriptor } = addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  await repository.resolve(tagged(), soon());
  const first = upstream.requests.at(-1)?.headers.authorization;
  const remove = upstream.fault(({ kind, headers }) =>
    kind !== 'token' && headers.authorization === first
      ? {
          status: 400,
          body: Buffer.from('{"errors":[{"code":"DENIED","message":"Your Authorization Token is invalid."}]}'),
        }
      : undefined,
  );
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.equal((await repository.readManifest(descriptor.digest, soon())).descriptor.digest, descriptor.digest);
  assert.equal(repository.requests.token, 2);
  remove();
  upstream.fault(when({ kind: 'blob' }, { status: 400 }));
  await assert.rejects(readBlob(repository, blob), UpstreamRefusedError);
  assert.equal(repository.requests.token, 3);
  // A registry without tokens that answers 400 means it.
  const plain = await upstreamForTest();
  plain.fault(when({ kind: 'blob' }, { status: 400 }));
  await assert.rejects(readBlob(await openRepository(plain.origin), blob), UpstreamRefusedError);
  assert.equal(plain.count(), 1);
});

test('a challenge that has the same repository behind a prefix is followed on the same host; any other is shown', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream);
  let wanted = `proj/${PATH}`;
  const token = (scope: string | null): string => `for-${Buffer.from(scope ?? '').toString('hex')}`;
  upstream.fault((request) => {
    if (request.kind === 'token')
      return { status: 200, body: Buffer.from(JSON.stringify({ token: token(request.query.get('scope')) })) };
    if (request.headers.authorization === `Bearer ${token(`repository:${wanted}:pull`)}`) return undefined;
    const challenge = `Bearer realm="${upstream.origin}/token",service="reg",scope="repository:${wanted}:pull,push"`;
    return { status: 401, headers: { 'www-authenticate': challenge }, body: Buffer.from('{}') };
  });
  assert.deepEqual(await readBlob(await openRepository(upstream.origin), blob), blob.bytes);
  assert.deepEqual(
    upstream.requests.filter(({ kind }) => kind === 'token').map(({ query }) => query.get('scope')),
    [`repository:proj/${PATH}:pull`],
  );
  // Among other scopes, too.
  wanted = `proj/${PATH}:pull repository:someone/else:pull registry:catalog`;
  await assert.rejects(readBlob(await openRepository(upstream.origin), blob), DeniedError);
  assert.equal(
    upstream.requests
      .filter(({ kind }) => kind === 'token')
      .at(-1)
      ?.query.get('scope'),
    `repository:proj/${PATH}:pull`,
  );
  for (const other of ['someone/else', `x${PATH}`, 'app', `${PATH}/more`]) {
    wanted = other;
    await assert.rejects(readBlob(await openRepository(upstream.origin), blob), (error: Error) => {
      assert.ok(error instanceof DeniedError);
      assert.match(error.message, new RegExp(`requires a token for repository "${other}"`));
      return true;
    });
  }
  const asked = new Set(upstream.requests.map(({ query }) => query.get('scope')));
  assert.deepEqual(asked, new Set([null, `repository:proj/${PATH}:pull`, `repository:${PATH}:pull`]));
});

test('a token that dies in the middle of a pull, and of a blob, is renewed once', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const blob = addBlob(upstream, 500_000);
  upstream.fault(
    times(1, (request) => {
      if (request.kind !== 'blob' || request.headers.authorization === undefined) return undefined;
      upstream.revokeTokens();
      return { dropAfterBytes: 100_000 };
    }),
  );
  const repository = await openRepository(upstream.origin);
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  // 401, GET that breaks; 401 for the dead token, GET of the rest.
  assert.deepEqual(repository.requests, { total: 6, ping: 0, token: 2, manifest: 0, blob: 4, redirected: 0 });
});

test('a fresh token that is refused is a refusal', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', expiresInSeconds: 0 } });
  addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
  // HEAD, its token, HEAD again; what a HEAD says is for GET to decide, and a token that was refused when it was new is not asked for again.
  assert.deepEqual(repository.requests, { total: 4, ping: 0, token: 1, manifest: 3, blob: 0, redirected: 0 });
});

test('a repository that anonymous tokens may not read is denied, not absent', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users, anonymous: ['team/public'] } });
  addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
  const blob = addBlob(upstream);
  await assert.rejects(repository.hasBlob(blob.descriptor, soon()), DeniedError);
});

test('what a realm gets wrong: 500s pass, nonsense does not, failures are not kept', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  addManifest(upstream);
  const repository = await openRepository(upstream.origin);
  upstream.fault(times(2, when({ kind: 'token' }, { status: 503 })));
  await repository.resolve(tagged(), soon());
  upstream.clearFaults();
  upstream.revokeTokens();
  for (const body of [
    'not json',
    '{}',
    '{"token":"with\\nnewline"}',
    '[]',
    'null',
    `{"token":"${'x'.repeat(300_000)}"}`,
  ]) {
    const remove = upstream.fault(when({ kind: 'token' }, { body: Buffer.from(body) }));
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamRefusedError);
    remove();
  }
  upstream.fault(times(3, when({ kind: 'token' }, { reset: true })));
  await assert.rejects(repository.resolve(tagged(), soon()), UpstreamUnavailableError);
  await repository.resolve(tagged(), soon());
});

test('Basic: credentials go with every request; wrong ones are denied and named nowhere', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users } });
  const { descriptor } = addManifest(upstream);
  const repository = await openRepository(upstream.origin, await loggedIn(bob));
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.deepEqual(repository.requests, { total: 2, ping: 1, token: 0, manifest: 1, blob: 0, redirected: 0 });
  const wrong = await openRepository(upstream.origin, await loggedIn({ ...bob, password: 'wrong-word' }));
  upstream.fault((request) =>
    request.kind === 'manifest'
      ? {
          body: Buffer.from(
            JSON.stringify({ errors: [{ code: 'X', message: `${request.headers.authorization ?? ''} wrong-word` }] }),
          ),
        }
      : undefined,
  );
  await assert.rejects(wrong.readManifest(descriptor.digest, soon()), (error) => {
    assert.ok(error instanceof DeniedError);
    assert.ok(!error.message.includes('wrong-word'), error.message);
    assert.ok(!error.message.includes(Buffer.from('bob:wrong-word').toString('base64')), error.message);
    return true;
  });
});

test('credentials that were rotated are read again after a 401', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users } });
  const { descriptor } = addManifest(upstream);
  const options = await loggedIn({ ...bob, password: 'old' });
  const repository = await openRepository(upstream.origin, options);
  await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
  await writeFile(options.dockerConfigPath, JSON.stringify({ auths: { [REGISTRY]: bob } }));
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
});

test('a challenge that only /v2/ sends is asked for there', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const { descriptor } = addManifest(upstream);
  upstream.fault((request, answer) =>
    request.kind === 'manifest' && answer.status === 401 ? { headers: { 'www-authenticate': undefined } } : undefined,
  );
  const repository = await openRepository(upstream.origin);
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.deepEqual(repository.requests, { total: 4, ping: 1, token: 1, manifest: 2, blob: 0, redirected: 0 });
});

test('a foreign realm is neither dialled nor given credentials, nor asked anonymously (I7)', async () => {
  const thief = await upstreamForTest({ auth: { kind: 'bearer' } });
  // Another port of the same IP is I7's exception, so the thief has a name.
  const realm = `http://thief.example.test:${thief.port}/token`;
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', realm, users } });
  addManifest(upstream);
  const names = { 'thief.example.test': ['127.0.0.1'] };
  for (const options of [await loggedIn(bob), {}]) {
    const repository = await openRepository(upstream.origin, { ...options, names });
    await assert.rejects(repository.resolve(tagged(), soon()), (error) => {
      return error instanceof UpstreamRefusedError && /thief\.example\.test:\d+.*"realms"/.test(error.message);
    });
  }
  assert.equal(thief.count(), 0);
  assert.equal(upstream.requests.filter(({ headers }) => headers.authorization !== undefined).length, 0);
});

test('a realm that the configuration names, and another port of an IP, are good', async () => {
  const realmServer = await upstreamForTest({ auth: { kind: 'bearer', users } });
  const named = `http://sso.example.test:${realmServer.port}/token`;
  for (const [realm, realms] of [
    [named, [`sso.example.test:${realmServer.port}`]],
    [`${realmServer.origin}/token`, []],
  ] as const) {
    realmServer.requests.length = 0;
    const upstream = await upstreamForTest({ auth: { kind: 'bearer', realm } });
    addManifest(upstream);
    const options = await loggedIn(bob);
    const repository = await openRepository(upstream.origin, {
      ...options,
      settings: { ...options.settings, realms },
      names: { 'sso.example.test': ['127.0.0.1'] },
    });
    // The registry does not know the token; what counts is that the realm was asked.
    await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
    assert.ok(realmServer.count({ kind: 'token' }) >= 1);
  }
});

test('a 401 with a large body does not hold the connection that the token needs', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const { descriptor } = addManifest(upstream);
  upstream.fault((_request, answer) => (answer.status === 401 ? { body: Buffer.alloc(1_000_000, 0x20) } : undefined));
  const repository = await openRepository(upstream.origin, { settings: { maxConnections: 1 } });
  assert.equal((await repository.readManifest(descriptor.digest, soon())).descriptor.digest, descriptor.digest);
});

for (const status of [301, 302, 307, 308]) {
  test(`a realm that moved (${status}) is followed on its own host, with the credentials`, async () => {
    for (const login of [bob, { identitytoken: 'refresh-me' }]) {
      const upstream = await upstreamForTest({ auth: { kind: 'bearer', users, refreshTokens: ['refresh-me'] } });
      addManifest(upstream);
      // The old place leads to the new one, for GET and for POST.
      upstream.fault((request) =>
        request.kind === 'token' && !request.query.has('moved')
          ? { status, headers: { location: `/token?moved=1&${String(request.query)}` }, body: Buffer.from('') }
          : undefined,
      );
      const repository = await openRepository(upstream.origin, await loggedIn(login));
      await repository.resolve(tagged(), soon());
      assert.equal(repository.requests.token, 2);
    }
  });
}

test('a realm that leads to another host, round in circles or nowhere gets no credentials, and is said', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users } });
  addManifest(upstream);
  const options = await loggedIn(bob);
  const locations = [
    'http://127.0.0.2:9/token',
    'https://auth.example.test/token',
    'ftp://127.0.0.1/token',
    'http://user:pass@127.0.0.1/token',
    'http://',
    undefined,
    '/token',
  ];
  for (const location of locations) {
    const headers = location === undefined ? {} : { location };
    const remove = upstream.fault(when({ kind: 'token' }, { status: 307, headers }));
    const repository = await openRepository(upstream.origin, options);
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamRefusedError, location);
    remove();
  }
});

test('a login is not posted again where the answer says 303', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', refreshTokens: ['refresh-me'] } });
  addManifest(upstream);
  upstream.fault(when({ kind: 'token' }, { status: 303, headers: { location: '/token?x=1' } }));
  const repository = await openRepository(upstream.origin, await loggedIn({ identitytoken: 'refresh-me' }));
  await assert.rejects(repository.resolve(tagged(), soon()), /303/);
});
