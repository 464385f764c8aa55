import { GetObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { RefRecord } from '../../../lib/store/content-store.ts';
import { rawS3, openCache, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import { multiArchImage, noiseImage, noiseLayer, upstreamImage } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';

let bench: Bench;
let upstream: TestUpstream;
let cache: TestCache;

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
  cache = await bench.use(openCache(bench.stack, { registries }));
});
after(() => bench[Symbol.asyncDispose]());

describe('a pull of a multi-arch image', () => {
  const image = multiArchImage({ name: 'multi', attestations: true });
  const reference = `${REGISTRY}/team/multi:v1`;
  before(() => upstream.addImage('team/multi', upstreamImage(image, 'v1')));

  test('copies one platform, each blob once', async () => {
    const receipt = await cache.pull(reference, { platforms: ['linux/amd64'] });
    assert.equal(receipt.outcome, 'pulled');
    assert.equal(receipt.digest, image.root.digest);
    assert.deepEqual(
      receipt.platforms.map(({ platform, complete }) => ({ platform, complete })),
      [{ platform: 'linux/amd64', complete: true }],
    );
    // Config and three layers, and the attestation's config and layer.
    assert.equal(receipt.blobs.total, receipt.blobs.copied);
    assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), receipt.blobs.total);
    assert.equal(upstream.count({ kind: 'manifest', method: 'HEAD' }), 1);
    // The index, one image, one attestation.
    assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), 3);
    assert.equal(receipt.registryRequests.total, upstream.requests.length);
  });

  test('is a hit the second time, without any request', async () => {
    upstream.requests.length = 0;
    const receipt = await cache.pull(reference, { platforms: ['linux/amd64'] });
    assert.equal(receipt.outcome, 'hit');
    assert.equal(receipt.registryRequests.total, 0);
    assert.equal(upstream.requests.length, 0);
    assert.equal(receipt.blobs.present, receipt.blobs.total);
    assert.ok(receipt.blobs.total > 0);
    assert.equal(receipt.bytes.present, receipt.bytes.total);
  });

  test('of a second platform copies only its own blobs', async () => {
    upstream.requests.length = 0;
    const receipt = await cache.pull(reference, { platforms: ['linux/arm64'] });
    assert.equal(receipt.outcome, 'pulled');
    assert.equal(receipt.blobs.present, 1, 'the shared layer is there');
    assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), receipt.blobs.copied);
    assert.equal(receipt.blobs.copied + receipt.blobs.present, receipt.blobs.total);
    assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), 2, 'the index comes from the cache');
  });

  test('of all platforms is a hit now', async () => {
    assert.equal((await cache.pull(reference)).outcome, 'hit');
    assert.equal((await cache.validate(reference, { deep: true })).state, 'complete');
  });

  test('left a record in the bucket that names everything the repository holds of it', async () => {
    const s3 = rawS3(bench.stack);
    const key = 'refs/registry.example.test/team/multi/v1.json';
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bench.stack.bucket, Key: key }));
    const record = JSON.parse(await Body!.transformToString()) as RefRecord;
    s3.destroy();
    assert.equal(record.reference, reference);
    assert.equal(record.digest, image.root.digest);
    assert.equal(record.generation, 2);
    assert.deepEqual(record.complete, [...image.manifests.keys()].sort());
  });

  test('with alwaysPull asks the upstream and moves nothing', async () => {
    upstream.requests.length = 0;
    const receipt = await cache.pull(reference, { alwaysPull: true });
    assert.equal(receipt.outcome, 'hit');
    assert.deepEqual(
      upstream.requests.map(({ kind, method }) => `${method} ${kind}`),
      ['HEAD manifest'],
    );
  });

  test('fails for a platform that the index lacks, before any blob moves', async () => {
    upstream.requests.length = 0;
    await assert.rejects(cache.pull(reference, { platforms: ['linux/s390x'] }), {
      name: 'PlatformMissingError',
      message: /has no linux\/s390x; it has linux\/amd64, linux\/arm64/,
    });
    assert.equal(upstream.count({ kind: 'blob' }), 0);
  });
});

test('a moved tag is followed by alwaysPull alone', async () => {
  const [first, second] = [noiseImage({ name: 'first' }), noiseImage({ name: 'second' })];
  upstream.addImage('team/moving', upstreamImage(first, 'latest'));
  const reference = `${REGISTRY}/team/moving`;
  assert.equal((await cache.pull(reference)).digest, first.root.digest);
  upstream.addImage('team/moving', upstreamImage(second, 'latest'));
  assert.equal((await cache.pull(reference)).digest, first.root.digest);
  const moved = await cache.pull(reference, { alwaysPull: true });
  assert.equal(moved.outcome, 'pulled');
  assert.equal(moved.digest, second.root.digest);
  assert.equal((await cache.pull(reference)).digest, second.root.digest);
});

describe('pulls at the same time', () => {
  const shared = noiseLayer(400_000, 'slow and shared');
  const images = ['one', 'two', 'three'].map((name) =>
    noiseImage({ name: `together ${name}`, sharedLayers: [shared] }),
  );
  before(() => {
    images.forEach((image, i) => upstream.addImage(`team/together-${i}`, upstreamImage(image, 'v1')));
    upstream.fault(({ kind }, { body }) =>
      kind === 'blob' && body.byteLength === 400_000 ? { chunkDelayMs: 60 } : undefined,
    );
  });
  after(() => upstream.clearFaults());

  test('of different images fetch what they share once, and the others say who did', async () => {
    upstream.requests.length = 0;
    const receipts = await Promise.all(images.map((_, i) => cache.pull(`${REGISTRY}/team/together-${i}:v1`)));
    assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), 1 + 3 * 3);
    for (const { outcome, blobs } of receipts) {
      assert.equal(outcome, 'pulled');
      assert.equal(blobs.present + blobs.copied + blobs.copiedElsewhere, blobs.total);
    }
    assert.equal(
      receipts.reduce((sum, { blobs }) => sum + blobs.copied, 0),
      10,
    );
    // Whoever comes after it has landed finds it present.
    const others = receipts.reduce((sum, { blobs }) => sum + blobs.copiedElsewhere + blobs.present, 0);
    assert.equal(others, 2);
    assert.equal(
      receipts.reduce((sum, { registryRequests }) => sum + registryRequests.total, 0),
      upstream.requests.length,
    );
  });

  test('of one reference make one, and the others a hit without a request', async () => {
    upstream.addImage('team/crowd', upstreamImage(noiseImage({ name: 'crowd', layerBytes: [400_000] }), 'v1'));
    upstream.requests.length = 0;
    const crowd = Array.from({ length: 6 }, () => cache.pull(`${REGISTRY}/team/crowd:v1`));
    const outcomes = (await Promise.all(crowd)).map(({ outcome, registryRequests }) => [
      outcome,
      registryRequests.total,
    ]);
    assert.deepEqual(outcomes.sort(), [...Array.from({ length: 5 }, () => ['hit', 0]), ['pulled', 4]]);
    assert.equal(upstream.requests.length, 4);
  });
});
