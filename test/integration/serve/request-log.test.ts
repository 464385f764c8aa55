import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { REGISTRY, startServeBench, type ServeBench } from './serve-bench.ts';

let bench: ServeBench;

before(async () => {
  bench = await startServeBench({ registry: { allow: ['team/**'] } });
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.log.length = 0;
});

/** The one line of the last request. */
function lineOf(): Readonly<Record<string, unknown>> {
  const lines = bench.log.filter(({ message }) => message === 'pull request');
  assert.equal(lines.length, 1);
  const { durationMs, ...fields } = lines[0]!.fields;
  assert.equal(typeof durationMs, 'number');
  bench.log.length = 0;
  return fields;
}

describe('the line of a request', { concurrency: false }, () => {
  test('a manifest: miss, then hit, by tag and by digest, with its bytes and who asked', async () => {
    const image = noiseImage({ name: 'line' });
    const base = bench.offer(image, 'team/app');
    const bytes = image.root.size;
    const common = {
      method: 'GET',
      route: 'manifest',
      repository: `${REGISTRY}/team/app`,
      bytes,
      status: 200,
      puller: 'anyone',
      address: '127.0.0.1',
      userAgent: 'docker/27.0 (linux)',
    };
    const headers = { 'user-agent': 'docker/27.0 (linux)', 'x-forwarded-for': '6.6.6.6' };
    await bench.get(`${base}/manifests/v1`, headers);
    assert.deepEqual(lineOf(), { ...common, tag: 'v1', cache: 'miss' });
    await bench.settled();
    bench.log.length = 0;
    await bench.get(`${base}/manifests/v1`, headers);
    assert.deepEqual(lineOf(), { ...common, tag: 'v1', cache: 'hit' });
    await bench.head(`${base}/manifests/${image.root.digest}`, headers);
    assert.deepEqual(lineOf(), { ...common, method: 'HEAD', digest: image.root.digest, cache: 'hit' });
    await bench.get(`${base}/manifests/v1`, { ...headers, 'if-none-match': `"${image.root.digest}"` });
    assert.deepEqual(lineOf(), { ...common, tag: 'v1', cache: 'hit', status: 304 });
  });

  test('a blob: waited for, then hit; the size is that of the blob, not of the redirect', async () => {
    const image = noiseImage({ name: 'line-blobs' });
    const base = bench.offer(image, 'team/blobs');
    const [digest, { byteLength }] = [...image.blobs][0]!;
    await bench.get(`${base}/manifests/v1`);
    lineOf();
    await bench.get(`${base}/blobs/${digest}`);
    const { cache, status, bytes } = lineOf();
    assert.ok(cache === 'waited' || cache === 'hit', String(cache)); // The pull may have been as fast as the test.
    assert.deepEqual([status, bytes], [307, byteLength]);
    await bench.settled();
    bench.log.length = 0;
    for (const [method, status] of [
      ['GET', 307],
      ['HEAD', 200],
    ] as const) {
      await bench.ask(`${base}/blobs/${digest}`, { method });
      const line = lineOf();
      assert.deepEqual([line.cache, line.status, line.bytes, line.digest], ['hit', status, byteLength, digest]);
    }
  });

  test('an unknown registry is named, however it was asked for; so is what "allow" refuses', async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      [
        '/v2/other.example.test/team/app/manifests/v1',
        /^the registry other\.example\.test is not in the configuration$/,
      ],
      ['/v2/localhost:5001/team/app/tags/list', /^the registry localhost:5001 is not /],
      ['/v2/team/app/manifests/v1?ns=ghcr.example.test', /^the registry ghcr\.example\.test is not /],
      [`/v2/${REGISTRY}/private/app/manifests/v1`, /private\/app is not allowed/],
    ];
    for (const [path, reason] of cases) {
      const { body } = await bench.get(path);
      assert.match(String(lineOf().reason), reason);
      assert.match(body.toString(), /this repository is not known to the cache/);
      assert.doesNotMatch(body.toString(), reason);
    }
  });

  test('what makes no sense has its path, cut and escaped, and nothing of its query', async () => {
    const long = 'x'.repeat(900);
    await bench.get(`/v2/${long}?token=hunter2`, { 'user-agent': `a\tb ${'y'.repeat(5_000)}` });
    const line = lineOf();
    assert.equal(line.path, `/v2/${long}`.slice(0, 200));
    assert.equal(String(line.userAgent).length, 200);
    assert.ok(String(line.userAgent).startsWith('a\\u0009b yyy'));
    assert.doesNotMatch(JSON.stringify(line), /hunter2/);
  });
});
