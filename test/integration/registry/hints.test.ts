import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import {
  DeniedError,
  ManifestUnknownError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { times, when, type Action } from '../../support/upstream/upstream.ts';
import { addManifest, openRepository, REGISTRY, soon, tagged, upstreamForTest } from './client-under-test.ts';

const HEAD = { kind: 'manifest', method: 'HEAD' } as const;
const GET = { kind: 'manifest', method: 'GET' } as const;

/** HEAD is a hint: whatever else it says than 200 with a usable digest, and 429, GET decides. */
describe('what a tag means', { concurrency: 4 }, () => {
  test('a HEAD that works is all that it costs', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const resolution = await (await openRepository(upstream.origin)).resolve(tagged(), soon());
    assert.deepEqual([resolution.digest, resolution.manifest], [descriptor.digest, undefined]);
    assert.deepEqual(
      upstream.requests.map(({ method }) => method),
      ['HEAD'],
    );
  });

  const sha = `sha256:${'a'.repeat(64)}`;
  const useless: Record<string, Action> = {
    ...Object.fromEntries(
      [204, 400, 401, 403, 404, 405, 406, 410, 418, 451, 500, 501, 502, 503, 505].map((status) => [status, { status }]),
    ),
    'a redirect to storage that is signed for GET alone': {
      status: 307,
      headers: { location: '/storage?signed=for-get' },
    },
    'a redirect that is not followed': { status: 302, headers: { location: 'http://10.0.0.1/storage' } },
    'a redirect without a place': { status: 307 },
    'no digest': { headers: { 'docker-content-digest': undefined } },
    'a digest in quotes': { headers: { 'docker-content-digest': `"${sha}"` } },
    'two digests': { headers: { 'docker-content-digest': `${sha}, ${sha}` } },
    'an upper-case digest': { headers: { 'docker-content-digest': sha.toUpperCase() } },
    'another algorithm': { headers: { 'docker-content-digest': 'md5:d41d8cd98f00b204e9800998ecf8427e' } },
    'a page for people': { headers: { 'content-type': 'text/html', 'docker-content-digest': sha } },
    'a broken connection': { reset: true },
    silence: { delayMs: 5_000 },
  };
  for (const [what, action] of Object.entries(useless)) {
    test(`HEAD says ${what}: GET decides`, async () => {
      const upstream = await upstreamForTest();
      const { descriptor } = addManifest(upstream);
      upstream.fault(when(HEAD, action));
      upstream.fault(when({ path: '/storage' }, { status: 403 }));
      const { digest, manifest } = await (await openRepository(upstream.origin)).resolve(tagged(), soon());
      assert.equal(digest, descriptor.digest);
      assert.equal(manifest?.descriptor.size, descriptor.size);
      assert.equal(upstream.count(GET), 1);
    });
  }

  const challenge = (realm: string): Action => ({
    status: 401,
    headers: { 'www-authenticate': `Bearer realm="${realm}",service="x"` },
  });
  for (const [what, token] of [
    ['refuses (401)', { status: 401 }],
    ['refuses (403)', { status: 403 }],
    ['is not there', { status: 404 }],
    ['answers with a page', { status: 200, body: Buffer.from('<html><title>Sign in</title></html>') }],
    ['answers with no token', { status: 200, body: Buffer.from('{}') }],
    ['redirects to nowhere', { status: 302 }],
    ['is down', { status: 503 }],
    ['is of another host', undefined],
  ] as const) {
    test(`HEAD wants a token of a realm that ${what}: GET decides`, async () => {
      const upstream = await upstreamForTest();
      const { descriptor } = addManifest(upstream);
      const realm = token === undefined ? 'https://tokens.example.test/token' : `${upstream.origin}/token`;
      upstream.fault(when(HEAD, challenge(realm)));
      if (token !== undefined) upstream.fault(when({ kind: 'token' }, token));
      const repository = await openRepository(upstream.origin);
      assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
      assert.equal(upstream.count(GET), 1);
    });
  }

  test('a login that HEAD refuses is not tried once more by GET', async () => {
    const upstream = await upstreamForTest({ auth: { kind: 'bearer', users: { bob: 'right' } } });
    addManifest(upstream);
    const directory = await mkdtemp(join(tmpdir(), 'entrepot-hints-'));
    after(() => rm(directory, { recursive: true }));
    const path = join(directory, 'config.json');
    await writeFile(path, JSON.stringify({ auths: { [REGISTRY]: { username: 'bob', password: 'wrong' } } }));
    const repository = await openRepository(upstream.origin, {
      settings: { credentials: { kind: 'docker' } },
      dockerConfigPath: path,
    });
    await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
    assert.deepEqual([upstream.count({ kind: 'token' }), upstream.count(GET)], [1, 0]);
  });

  test('HEAD that limits us is asked again after its time, and never answered by a GET that costs a pull', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    upstream.fault(times(1, when(HEAD, { status: 429, headers: { 'retry-after': '0' } })));
    assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
    assert.equal(upstream.count(HEAD), 2);
    upstream.fault(when(HEAD, { status: 429, headers: { 'retry-after': '3600' } }));
    await assert.rejects(repository.resolve(tagged(), soon()), RateLimitedError);
    assert.equal(upstream.count(GET), 0);
  });

  for (const [status, type] of [
    [403, DeniedError],
    [404, ManifestUnknownError],
    [400, UpstreamRefusedError],
    [429, RateLimitedError],
  ] as const) {
    test(`HEAD and GET are both refused (${status} of GET): GET's answer is the answer`, async () => {
      for (const head of [404, 403, 200]) {
        const upstream = await upstreamForTest();
        addManifest(upstream);
        upstream.fault(
          when(HEAD, head === 200 ? { headers: { 'docker-content-digest': undefined } } : { status: head }),
        );
        upstream.fault(when(GET, { status, headers: { 'retry-after': '3600' } }));
        await assert.rejects((await openRepository(upstream.origin)).resolve(tagged(), soon()), type);
      }
    });
  }

  test('a registry that fails altogether is asked as often as the limit says, HEAD included', async () => {
    const upstream = await upstreamForTest();
    addManifest(upstream);
    upstream.fault(when({}, { status: 503 }));
    const repository = await openRepository(upstream.origin, { limits: { attempts: 3 } });
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamUnavailableError);
    assert.equal(upstream.count(), 3);
  });

  test('by its bytes: one GET', async () => {
    const upstream = await upstreamForTest();
    const { descriptor, bytes } = addManifest(upstream);
    const { digest, manifest } = await (await openRepository(upstream.origin)).resolve(tagged(), soon(), true);
    assert.deepEqual([digest, manifest?.bytes], [descriptor.digest, bytes]);
    assert.equal(upstream.count(), 1);
  });
});
