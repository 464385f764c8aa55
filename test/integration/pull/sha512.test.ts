import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { sha256Base64 } from '../../../lib/store/checksums.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import { bySha512, multiArchImage, noiseImage, type Image } from '../../support/images.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

const validated = async (reference: string, deep = true): Promise<string> =>
  (await bench.cache.validate(reference, { deep })).state;

/** The image with one digest of its manifest by SHA-512: blobs and manifest have the algorithms that their registry chose. */
function withLayerBySha512(image: Image): Image {
  const [layer] = [...image.blobs.keys()].slice(1);
  const bytes = image.blobs.get(layer!)!;
  const now = digestOf(bytes, 'sha512');
  const manifest = Buffer.from(Buffer.from(image.root.bytes).toString().replace(layer!, now));
  const root = { ...image.root, bytes: manifest, size: manifest.byteLength, digest: digestOf(manifest) };
  const blobs = new Map([...image.blobs].map(([digest, content]) => [digest === layer ? now : digest, content]));
  return { root, blobs, manifests: new Map([[root.digest, { mediaType: root.mediaType, bytes: manifest }]]) };
}

for (const [what, image] of [
  ['an image', bySha512(noiseImage({ name: 'single' }))],
  ['a layer of several parts', bySha512(noiseImage({ name: 'large', layerBytes: [11 * 1024 * 1024] }))],
  ['a layer of an image', withLayerBySha512(noiseImage({ name: 'mixed' }))],
  ['an index with attestations', bySha512(multiArchImage({ name: 'multi', attestations: true }))],
] as const) {
  test(`${what} by SHA-512 is pulled, is a hit, and is complete by all that there is to ask`, async () => {
    const repository = `team/${what.replaceAll(' ', '-')}`;
    const reference = bench.offer(image, repository);
    const receipt = await bench.succeeds(reference);
    assert.equal(receipt.digest, image.root.digest);
    assert.deepEqual(receipt.blobs, {
      total: image.blobs.size,
      present: 0,
      copied: image.blobs.size,
      copiedElsewhere: 0,
    });
    const keys = await bench.blobKeys();
    for (const digest of [...image.blobs.keys(), ...image.manifests.keys()])
      assert.ok(keys.includes(blobObjectKey(digest)));
    assert.equal((await bench.succeeds(reference)).outcome, 'hit');
    const byDigest = await bench.succeeds(`${REGISTRY}/${repository}@${image.root.digest}`);
    assert.deepEqual([byDigest.blobs.present, byDigest.digest], [image.blobs.size, image.root.digest]);
    assert.equal(await validated(reference), 'complete');
  });
}

test('a tag whose HEAD names a SHA-512 is what its bytes say: by that algorithm where both agree', async () => {
  const image = bySha512(noiseImage({ name: 'head and bytes' }));
  const reference = bench.offer(image, 'team/agrees');
  assert.equal((await bench.succeeds(reference)).digest, image.root.digest);
  assert.equal((await bench.cache.pull(reference, { alwaysPull: true })).outcome, 'hit');
  bench.upstream.fault(
    when(
      { kind: 'manifest', method: 'HEAD' },
      { headers: { 'docker-content-digest': digestOf(Buffer.from('lie'), 'sha512') } },
    ),
  );
  const other = bench.offer(image, 'team/disagrees');
  assert.equal((await bench.succeeds(other)).digest, digestOf(image.root.bytes));
});

test('other bytes than a SHA-512 says are refused, whatever holds them', async () => {
  const image = bySha512(noiseImage({ name: 'wrong bytes' }));
  const [, layer] = [...image.blobs.keys()];
  const wrong = randomBytes(image.blobs.get(layer!)!.byteLength);
  const reference = bench.offer({ ...image, blobs: new Map([...image.blobs, [layer!, wrong]]) }, 'team/wrong-bytes');
  await bench.fails(reference, { name: 'ContentMismatchError', message: /sha512:/ });
  const manifest = bench.offer(image, 'team/wrong-manifest');
  bench.upstream.putManifest('team/wrong-manifest', image.root.digest, wrong, image.root.mediaType);
  await bench.fails(manifest.replace(/:v1$/, `@${image.root.digest}`), { name: 'ContentMismatchError' });
});

test('a missing blob is named with its digest and its place in the manifest', async () => {
  for (const [at, place] of ['config', 'layers\\[0\\]', 'layers\\[1\\]'].entries()) {
    const image = bySha512(noiseImage({ name: `missing ${at}` }));
    const digest = [...image.blobs.keys()][at]!;
    const reference = bench.offer(image, `team/without-${digest.slice(-8)}`);
    bench.upstream.deleteBlob(`team/without-${digest.slice(-8)}`, digest);
    const message = new RegExp(`${digest}.*${place} of ${image.root.digest}`);
    await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN', message });
  }
});

test('a layer by SHA-512 that was replaced or deleted in the bucket is found out, and comes again', async () => {
  const image = bySha512(noiseImage({ name: 'heals' }));
  const reference = bench.offer(image, 'team/heals');
  await bench.succeeds(reference);
  const [, first, second] = [...image.blobs.keys()] as [Digest, Digest, Digest];
  const body = randomBytes(image.blobs.get(first)!.byteLength);
  const at = { Bucket: bench.stack.bucket, Key: blobObjectKey(first) };
  // Its own SHA-256 is right, as S3 checks it: that says nothing of its name.
  await bench.s3.send(new PutObjectCommand({ ...at, Body: body, ChecksumSHA256: sha256Base64(digestOf(body)) }));
  await bench.s3.send(new DeleteObjectCommand({ ...at, Key: blobObjectKey(second) }));
  assert.equal(await validated(reference), 'incomplete');
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.copied, 2);
  assert.equal(await validated(reference), 'complete');
  // What somebody puts back counts by its bytes.
  const bytes = image.blobs.get(second)!;
  await bench.s3.send(new DeleteObjectCommand({ ...at, Key: blobObjectKey(second) }));
  assert.equal(await validated(reference), 'incomplete');
  await bench.s3.send(new PutObjectCommand({ ...at, Key: blobObjectKey(second), Body: bytes }));
  assert.equal(await validated(reference), 'complete');
});

test('a copy that breaks off goes on', async () => {
  const image = bySha512(noiseImage({ name: 'breaks', layerBytes: [200_000] }));
  const reference = bench.offer(image, 'team/breaks');
  bench.upstream.fault(times(1, when({ kind: 'blob', method: 'GET' }, { dropAfterBytes: 1_000 })));
  await bench.succeeds(reference);
});
