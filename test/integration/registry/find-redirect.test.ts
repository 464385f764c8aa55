import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  BlobUnknownError,
  DeniedError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { until } from '../../support/until.ts';
import { when, type TestUpstream } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  openRepository,
  readBlob,
  REGISTRY,
  soon,
  upstreamForTest,
  type ClientOptions,
} from './client-under-test.ts';

const PUBLIC = '93.184.215.14';
const CDN = 'https://cdn.example.test/sha256/ab?signature=s3cr3t';
const LOGIN = { username: 'bob', password: 'a word of bob' };

let folder = '';
let dockerConfigPath = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-locate-'));
  dockerConfigPath = join(folder, 'config.json');
  await writeFile(dockerConfigPath, JSON.stringify({ auths: { [REGISTRY]: LOGIN } }));
});
after(() => rm(folder, { recursive: true }));

const open = (upstream: TestUpstream, options: ClientOptions = {}): Promise<Upstream> =>
  openRepository(upstream.origin, {
    names: { 'cdn.example.test': [PUBLIC] },
    ...options,
    settings: { passRedirects: ['cdn.example.test', '*.blobs.example.test'], ...options.settings },
  });

const redirectTo = (upstream: TestUpstream, location: string | undefined, status = 307): (() => void) =>
  upstream.fault((request, answer) =>
    request.kind === 'blob' && answer.status < 300
      ? { status, headers: { location }, body: Buffer.alloc(0) }
      : undefined,
  );

test('the redirect of the registry itself, by one GET that nobody follows', async () => {
  const upstream = await upstreamForTest();
  const { digest } = addBlob(upstream).descriptor;
  for (const status of [301, 302, 303, 307, 308]) {
    const repository = await open(upstream);
    upstream.requests.length = 0;
    const stop = redirectTo(upstream, CDN, status);
    assert.equal((await repository.findRedirect(digest, soon()))?.href, CDN);
    stop();
    assert.deepEqual(
      upstream.requests.map(({ method, kind, headers }) => [method, kind, headers.range]),
      [['GET', 'blob', undefined]],
    );
    assert.deepEqual(repository.requests, { total: 1, ping: 0, token: 0, manifest: 0, blob: 1, redirected: 0 });
  }
});

test('the registry sees its credentials, and nobody else does', async () => {
  const upstream = await upstreamForTest({
    auth: { kind: 'bearer', users: { [LOGIN.username]: LOGIN.password } },
  });
  const { digest } = addBlob(upstream).descriptor;
  const settings = { credentials: { kind: 'docker' } } as const;
  redirectTo(upstream, CDN);
  const repository = await open(upstream, { settings, dockerConfigPath });
  const location = await repository.findRedirect(digest, soon());
  assert.equal(location?.href, CDN);
  const { authorization } = upstream.requests.at(-1)!.headers;
  assert.match(authorization ?? '', /^Bearer /);
  const token = authorization!.slice('Bearer '.length);

  // A registry that writes into the URL what it was sent would hand it to whoever pulls.
  upstream.clearFaults();
  let echo = '';
  upstream.fault((request) =>
    request.kind === 'blob' ? { status: 307, headers: { location: echo }, body: Buffer.alloc(0) } : undefined,
  );
  for (const place of ['cdn.example.test/x?jwt=', 'cdn.example.test/', 'other.example.test/']) {
    for (const secret of [token, token.replace(/./g, percent)]) {
      echo = `https://${place}${secret}`;
      await assert.rejects(repository.findRedirect(digest, soon()), isRefusal(/our own credentials/, token));
    }
  }
});

const percent = (character: string): string => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;

test('the bytes themselves are no location, and are not read', async () => {
  const upstream = await upstreamForTest();
  const { descriptor } = addBlob(upstream, 4 * 1024 * 1024);
  upstream.fault((request) => (request.kind === 'blob' ? { chunkDelayMs: 200 } : undefined));
  const repository = await open(upstream, { settings: { maxConnections: 1 } });
  const startedMs = performance.now();
  assert.equal(await repository.findRedirect(descriptor.digest, soon()), undefined);
  // With one connection, another question waits for the end of the answer before it: which was broken off.
  assert.ok(await repository.hasBlob(descriptor, soon()));
  const tookMs = performance.now() - startedMs;
  assert.ok(tookMs < 2_000, `${tookMs} ms; all of it takes 12 s`);
  assert.equal(repository.requests.blob, 2);
});

function isRefusal(what: RegExp, secret = 's3cr3t'): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof UpstreamRefusedError, String(error));
    assert.match(error.message, what);
    assert.ok(!error.message.includes(secret), error.message);
    return true;
  };
}

test('refused: hosts that are not named, http, ports, user info, the registry itself, no Location', async () => {
  const upstream = await upstreamForTest();
  const { digest } = addBlob(upstream).descriptor;
  const cases: [string | undefined, RegExp][] = [
    [
      'https://other.example.test/x?s=s3cr3t',
      / to other\.example\.test, which "passRedirects" .* does not name; add "o/,
    ],
    ['https://a.b.blobs.example.test/x', /does not name/],
    ['http://cdn.example.test/x?s=s3cr3t', /not encrypted/],
    ['https://cdn.example.test:8443/x', /port/],
    ['https://s3cr3t:s3cr3t@cdn.example.test/x', /user name or password/],
    [`https://${PUBLIC}/x`, /does not name/],
    ['/elsewhere?s=s3cr3t', /the registry itself/],
    [`${upstream.origin}/x`, /the registry itself/],
    ['https://[', /without a usable Location/],
    [undefined, /without a usable Location/],
  ];
  const repository = await open(upstream);
  for (const [location, what] of cases) {
    const stop = redirectTo(upstream, location);
    await assert.rejects(repository.findRedirect(digest, soon()), isRefusal(what), location);
    stop();
  }
  assert.equal(upstream.count({ kind: 'other' }), 0);
});

test('refused: a name with one address that is not public, whatever "redirects" allows us', async () => {
  const upstream = await upstreamForTest();
  const { digest } = addBlob(upstream).descriptor;
  redirectTo(upstream, CDN);
  const settings = { redirects: ['cdn.example.test', '10.0.0.0/8'] };
  for (const address of ['127.0.0.1', '10.0.0.1', '169.254.169.254', '::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1']) {
    for (const addresses of [[address], [PUBLIC, address], [address, PUBLIC]]) {
      const repository = await open(upstream, { settings, names: { 'cdn.example.test': addresses } });
      await assert.rejects(repository.findRedirect(digest, soon()), isRefusal(/not to public ones alone/));
    }
  }
  const several = await open(upstream, { names: { 'cdn.example.test': [PUBLIC, '2606:4700::1111'] } });
  assert.equal((await several.findRedirect(digest, soon()))?.href, CDN);
  const unknown = await open(upstream, { names: {} });
  await assert.rejects(unknown.findRedirect(digest, soon()), UpstreamUnavailableError);
  const nowhere: LookupFunction = (_host, _options, callback) => callback(null, []);
  await assert.rejects(
    (await open(upstream, { lookup: nowhere })).findRedirect(digest, soon()),
    isRefusal(/no address/),
  );
});

test('whoever waits for a name that never resolves may leave', async () => {
  const upstream = await upstreamForTest();
  const { digest } = addBlob(upstream).descriptor;
  redirectTo(upstream, CDN);
  let asked = 0;
  const silent: LookupFunction = () => {
    asked++;
  };
  const repository = await open(upstream, { lookup: silent });
  const leaving = new AbortController();
  const located = repository.findRedirect(digest, leaving.signal);
  await until(() => asked === 1);
  leaving.abort(new Error('left'));
  await assert.rejects(located, /left/);
});

test('a registry that names no hosts is not asked', async () => {
  const upstream = await upstreamForTest();
  const { digest } = addBlob(upstream).descriptor;
  redirectTo(upstream, CDN);
  const repository = await open(upstream, { settings: { passRedirects: [] } });
  assert.equal(await repository.findRedirect(digest, soon()), undefined);
  assert.equal(upstream.count(), 0);
});

test('an answer that is none is what it means, after one try; a mirror is not asked', async () => {
  const mirror = await upstreamForTest();
  const upstream = await upstreamForTest();
  const blob = addBlob(mirror);
  upstream.putBlob('team/app', blob.bytes);
  const settings = { mirrors: [new URL(mirror.origin)] };
  const { digest } = blob.descriptor;
  for (const [status, type] of [
    [404, BlobUnknownError],
    [403, DeniedError],
    [429, RateLimitedError],
    [503, UpstreamUnavailableError],
    [206, UpstreamRefusedError],
  ] as const) {
    const stop = upstream.fault(when({ kind: 'blob' }, { status }));
    upstream.requests.length = 0;
    const repository = await open(upstream, { settings });
    await assert.rejects(repository.findRedirect(digest, soon()), type);
    assert.equal(upstream.count(), 1, `${status}`);
    stop();
  }
  const repository = await open(upstream, { settings });
  upstream.fault(when({ kind: 'blob' }, { reset: true }));
  await assert.rejects(repository.findRedirect(digest, soon()), UpstreamUnavailableError);
  assert.equal(mirror.count(), 0);
  assert.deepEqual(await readBlob(repository, blob), blob.bytes, 'which a mirror is for');
});
