import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { multiArchImage, noise, noiseImage, noiseLayer, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

const MIB = 1024 * 1024;

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const objectOf = (digest: Digest) => ({
  Bucket: bench.stack.bucket,
  Key: `blobs/sha256/${digest.slice('sha256:'.length)}`,
});
const remove = (digest: Digest) => bench.s3.send(new DeleteObjectCommand(objectOf(digest)));
const overwrite = (digest: Digest, bytes: Uint8Array) =>
  bench.s3.send(new PutObjectCommand({ ...objectOf(digest), Body: bytes }));
const blobOfSize = (image: Image, bytes: number): Digest =>
  [...image.blobs].find(([, content]) => content.byteLength === bytes)![0];
/** What deep validation finds missing. */
const damage = async (reference: string): Promise<string[]> => {
  const { state, missing } = await bench.cache.validate(reference, { deep: true });
  assert.equal(state, 'incomplete');
  return missing.map(({ digest }) => digest);
};
/** Digests of manifests and blobs that the registry was asked to give. */
const gets = (): (string | undefined)[] =>
  bench.upstream.requests.filter(({ method }) => method === 'GET').map(({ reference }) => reference);

test('a lost blob is noticed by deep validation, un-completes all who use it, and is fetched once', async () => {
  const shared = noiseLayer(4_000, 'lost and shared');
  const images = ['first', 'second'].map((name) => noiseImage({ name, sharedLayers: [shared] }));
  const [first, second] = [bench.offer(images[0]!, 'team/first'), bench.offer(images[1]!, 'team/second')];
  await bench.succeeds(first);
  await bench.succeeds(second);
  const lost = blobOfSize(images[0]!, 4_000);
  await remove(lost);
  bench.upstream.requests.length = 0;
  // A hit costs no S3 request, so it cannot know.
  assert.equal((await bench.cache.pull(first)).outcome, 'hit');
  assert.equal((await bench.cache.validate(first)).state, 'complete');

  assert.deepEqual(await damage(first), [lost]);
  const other = await bench.cache.validate(second);
  assert.deepEqual(
    [other.state, other.missing],
    ['incomplete', [{ digest: lost, size: 4_000, reason: 'gone from the store' }]],
  );

  const healed = await bench.succeeds(second);
  assert.deepEqual(healed.blobs, { total: 4, present: 3, copied: 1, copiedElsewhere: 0 });
  assert.deepEqual(gets(), [lost], 'the manifest comes from the cache');
  // What one pull brought back is there for all who use it, also when the registry is gone.
  bench.upstream.requests.length = 0;
  assert.equal((await bench.cache.validate(first)).state, 'complete');
  const restored = await bench.cache.pull(first);
  assert.deepEqual([restored.outcome, restored.blobs.present], ['hit', 4]);
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal((await bench.cache.validate(first, { deep: true })).state, 'complete');
});

for (const [what, bytes] of [
  ['small', 2_000],
  ['multipart', 6 * MIB],
] as const) {
  test(`a ${what} blob that was overwritten is noticed and replaced`, async () => {
    const image = noiseImage({ name: `overwritten ${what}`, layerBytes: [bytes] });
    const reference = bench.offer(image, `team/overwritten-${what}`);
    await bench.succeeds(reference);
    const wrong = blobOfSize(image, bytes);
    await overwrite(wrong, noise(bytes, 'vandal'));
    bench.upstream.requests.length = 0;
    assert.equal((await bench.cache.validate(reference)).state, 'complete', 'the catalogue alone cannot know');
    assert.deepEqual(await damage(reference), [wrong]);
    assert.deepEqual(await damage(reference), [wrong], 'still so when asked again');
    const healed = await bench.succeeds(reference);
    assert.equal(healed.blobs.copied, 1);
    assert.deepEqual(gets(), [wrong]);
  });
}

test('a blob that was overwritten with another size is noticed and replaced', async () => {
  const image = noiseImage({ name: 'truncated' });
  const reference = bench.offer(image, 'team/truncated');
  await bench.succeeds(reference);
  const wrong = blobOfSize(image, 2_000);
  await overwrite(wrong, noise(100, 'vandal'));
  assert.deepEqual(await damage(reference), [wrong]);
  await bench.succeeds(reference);
});

test('lost manifests come back: a child, and the index itself', async () => {
  const image = multiArchImage({ name: 'lost manifests' });
  const reference = bench.offer(image, 'team/lost-manifests');
  await bench.succeeds(reference);
  const child = image.children.get('linux/arm64')!.root.digest;
  for (const lost of [child, image.root.digest]) {
    await remove(lost);
    bench.upstream.requests.length = 0;
    assert.deepEqual(await damage(reference), [lost]);
    const healed = await bench.succeeds(reference);
    assert.deepEqual([healed.outcome, healed.blobs.copied], ['pulled', 0]);
    assert.deepEqual(gets(), [lost]);
  }
});

test('a manifest that was overwritten is replaced', async () => {
  const image = noiseImage({ name: 'forged manifest' });
  const reference = bench.offer(image, 'team/forged-manifest');
  await bench.succeeds(reference);
  const forged = Buffer.from(image.root.bytes);
  forged[forged.length - 2] = 0x20;
  await overwrite(image.root.digest, forged);
  assert.deepEqual(await damage(reference), [image.root.digest]);
  bench.upstream.requests.length = 0;
  await bench.succeeds(reference);
  assert.deepEqual(gets(), [image.root.digest]);
});

test('damage to one platform leaves the other one a hit', async () => {
  const image = multiArchImage({ name: 'half lost' });
  const reference = bench.offer(image, 'team/half-lost');
  await bench.succeeds(reference);
  const config = [...image.children.get('linux/arm64')!.blobs.keys()][0]!;
  await remove(config);
  assert.deepEqual(await damage(reference), [config]);
  bench.upstream.requests.length = 0;
  assert.equal((await bench.cache.pull(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
  const { platforms } = await bench.cache.validate(reference);
  assert.deepEqual(
    platforms.map(({ platform, complete }) => [platform, complete]),
    [
      ['linux/amd64', true],
      ['linux/arm64', false],
    ],
  );
  assert.equal(bench.upstream.requests.length, 0);
  await bench.succeeds(reference);
  assert.deepEqual(gets(), [config]);
});

test('a config that is lost behind the back of the catalogue is noticed by the pull that has to read it', async () => {
  const image = noiseImage({ name: 'lost config' });
  await bench.succeeds(bench.offer(image, 'team/lost-config'));
  const config = [...image.blobs.keys()][0]!;
  await remove(config);
  const reference = bench.offer(image, 'team/reads-the-config');
  // Content that is found to be lost ends the epoch of every pull under way, this one included: it looks again, under the same lock.
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.copied, 1);
  assert.equal(gets().filter((digest) => digest === config).length, 1);
});
