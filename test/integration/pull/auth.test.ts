import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const LOGIN = { username: 'bob', password: 'correct horse' };

let bench: PullBench;
before(async () => {
  bench = await startPullBench({
    registry: { credentials: 'docker', allow: ['team/**'] },
    upstream: { auth: { kind: 'bearer', users: { [LOGIN.username]: LOGIN.password } } },
    limits: { parallelBlobs: 1 },
  });
  await bench.login({ [REGISTRY]: LOGIN });
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

test('one token serves a whole pull', async () => {
  const receipt = await bench.succeeds(bench.offer(noiseImage({ name: 'one token' }), 'team/one-token'));
  assert.deepEqual(receipt.registryRequests, { total: 7, ping: 1, token: 1, manifest: 2, blob: 3, redirected: 0 });
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length);
});

test('a token that ends in the middle of a pull is renewed, and nothing is fetched twice', async () => {
  const image = noiseImage({ name: 'expiry', layerBytes: [1_000, 2_000, 3_000] });
  const reference = bench.offer(image, 'team/expiry');
  let blobs = 0;
  bench.upstream.fault(({ kind }) => {
    if (kind === 'blob' && ++blobs === 2) bench.upstream.revokeTokens();
    return undefined;
  });
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.copied, 4);
  assert.equal(receipt.registryRequests.token, 2);
  // The request that saw the token revoked was answered before; the one after it was refused once.
  assert.equal(receipt.registryRequests.blob, 5);
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length);
});

for (const status of [401, 403]) {
  test(`a ${status} of the registry is DENIED, never absent`, async () => {
    const reference = bench.offer(noiseImage({ name: `denied ${status}` }), `team/denied-${status}`);
    bench.upstream.fault(when({ kind: 'manifest' }, { status }));
    await bench.fails(reference, { name: 'DeniedError', code: 'DENIED' });
    bench.upstream.clearFaults();
    bench.upstream.fault(when({ kind: 'blob' }, { status }));
    await bench.fails(reference, { name: 'DeniedError', code: 'DENIED' });
    bench.upstream.clearFaults();
    await bench.succeeds(reference);
  });
}

test('a 404 of a blob is BLOB_UNKNOWN, and publishes nothing', async () => {
  const reference = bench.offer(noiseImage({ name: 'no blob' }), 'team/no-blob');
  bench.upstream.fault(times(1, when({ kind: 'blob' }, { status: 404 })));
  await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN' });
  await bench.succeeds(reference);
});

test('a registry that is not configured, and a repository that is not allowed, are never dialled', async () => {
  bench.upstream.requests.length = 0;
  await bench.fails('elsewhere.example.test/team/app', {
    name: 'UnknownNameError',
    code: 'NAME_UNKNOWN',
    message: new RegExp(`elsewhere.example.test is not configured.*${REGISTRY}`),
  });
  await bench.fails(`${REGISTRY}/other/app`, { name: 'UnknownNameError', code: 'NAME_UNKNOWN', message: /team\/\*\*/ });
  assert.equal(bench.upstream.requests.length, 0);
});

for (const realm of ['https://10.1.2.3/token', 'http://169.254.169.254/token', 'https://tokens.example.test/token']) {
  test(`a realm at ${realm} is not followed, and the password stays`, async () => {
    await using stranger = await startPullBench({
      registry: { credentials: 'docker' },
      upstream: { auth: { kind: 'bearer', realm, users: { [LOGIN.username]: LOGIN.password } } },
    });
    await stranger.login({ [REGISTRY]: LOGIN });
    const reference = stranger.offer(noiseImage({ name: 'realm' }), 'team/realm');
    await assert.rejects(stranger.cache.pull(reference), (error: Error) => {
      assert.equal(error.name, 'UpstreamRefusedError');
      assert.match(error.message, /nothing was sent there/);
      assert.ok(!error.message.includes(LOGIN.password));
      return true;
    });
    await stranger.assertClean();
    assert.ok(stranger.upstream.requests.every(({ headers }) => headers.authorization === undefined));
  });
}
