import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { OCI_INDEX } from '../../../lib/oci/media-type.ts';
import { buildArtifact, buildImage, buildIndex, noiseImage, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench({ limits: { depth: 2, fanOut: 5, totalBytes: 20_000, manifestBytes: 64 * 1024 } });
});
after(() => bench[Symbol.asyncDispose]());

const blobRequests = (): number => bench.upstream.count({ kind: 'blob' });

/** An index around an index around …, with `depth` indexes below the root. */
function nested(depth: number, name: string): Image {
  let image = buildIndex({ entries: [{ image: noiseImage({ name }), platform: 'linux/amd64' }] });
  for (let level = 0; level < depth; level++) {
    image = buildIndex({ entries: [{ image }], annotations: { level: String(level) } });
  }
  return image;
}

test('a manifest above the limit is refused by its length, and without one by its bytes', async () => {
  const image = noiseImage({ name: 'huge' });
  const reference = bench.offer(image, 'team/huge');
  const body = Buffer.concat([image.root.bytes, Buffer.alloc(64 * 1024, ' ')]);
  for (const chunked of [false, true]) {
    bench.upstream.fault(({ kind }) => (kind === 'manifest' ? { body, chunked } : undefined));
    await bench.fails(reference, {
      name: 'InvalidManifestError',
      code: 'MANIFEST_INVALID',
      message: /limit is 65536.*manifestBytes/,
    });
    bench.upstream.clearFaults();
  }
  assert.equal(blobRequests(), 0);
  await bench.succeeds(reference);
});

test('the default limit of a manifest is 4 MiB', async () => {
  await using other = await startPullBench();
  const padding = (bytes: number) => ({ padding: 'x'.repeat(bytes) });
  const layers = [{ bytes: Buffer.from('layer'), mediaType: 'application/x' }];
  const small = buildImage({ platform: 'linux/amd64', layers, annotations: padding(4 * 1024 * 1024 - 1_000) });
  const large = buildImage({ platform: 'linux/amd64', layers, annotations: padding(4 * 1024 * 1024) });
  await other.succeeds(other.offer(small, 'team/small'));
  await other.fails(other.offer(large, 'team/large'), { name: 'InvalidManifestError', message: /limit is 4194304/ });
});

test('indexes may be nested to the limit, and no deeper', async () => {
  await bench.succeeds(bench.offer(nested(2, 'deep'), 'team/deep'));
  const tooDeep = bench.offer(nested(3, 'too deep'), 'team/too-deep');
  await bench.fails(tooDeep, { name: 'InvalidManifestError', code: 'MANIFEST_INVALID', message: /more than 2 deep/ });
  assert.equal(blobRequests(), 0);
});

test('an index that is deeper than anybody reads ends at the limit', async () => {
  const bottomless = bench.offer(nested(20, 'bottomless'), 'team/bottomless');
  await bench.fails(bottomless, { name: 'InvalidManifestError' });
  assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET' }), 3, 'the root, and two levels below it');
});

test('descriptors in one manifest, and manifests in one tree, are counted to the limit', async () => {
  const blobs = Array.from({ length: 6 }, (_, i) => ({ bytes: Buffer.from(`blob ${i}`), mediaType: 'application/x' }));
  const artifactType = 'application/x';
  await bench.succeeds(bench.offer(buildArtifact({ artifactType, blobs: blobs.slice(0, 5) }), 'team/five'));
  const six = { name: 'InvalidManifestError', message: /"layers" has 6 entries, the limit is 5 \(limits\.fanOut/ };
  await bench.fails(bench.offer(buildArtifact({ artifactType, blobs }), 'team/six'), six);

  const images = Array.from({ length: 6 }, (_, i) => ({
    image: noiseImage({ name: `fan ${i}` }),
    platform: 'linux/amd64',
  }));
  const wide = { name: 'InvalidManifestError', message: /"manifests" has 6 entries/ };
  await bench.fails(bench.offer(buildIndex({ entries: images }), 'team/wide'), wide);
  const halves = [images.slice(0, 3), images.slice(3)].map((entries) => ({ image: buildIndex({ entries }) }));
  const tree = { name: 'InvalidManifestError', message: /tree has more than 5 manifests/ };
  await bench.fails(bench.offer(buildIndex({ entries: halves }), 'team/tree'), tree);
  assert.equal(blobRequests(), 0);
});

test('all blobs of one pull are weighed together before a layer moves', async () => {
  const index = buildIndex({
    entries: ['linux/amd64', 'linux/arm64'].map((platform) => ({
      image: noiseImage({ name: 'heavy', platform, layerBytes: [12_000] }),
      platform,
    })),
  });
  const reference = bench.offer(index, 'team/heavy');
  await bench.fails(reference, { name: 'InvalidManifestError', message: /limit is 20000 \(limits\.totalBytes/ });
  assert.equal(blobRequests(), 0);
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
});

test('manifests of one index are weighed together before they are read', async () => {
  const entries = Array.from({ length: 4 }, (_, i) => ({
    image: buildImage({
      platform: 'linux/amd64',
      layers: [],
      annotations: { i: String(i), padding: 'x'.repeat(60_000) },
    }),
    platform: 'linux/amd64',
  }));
  const index = buildIndex({ entries });
  await using tight = await startPullBench({ limits: { manifestBytes: 61_000 } });
  const reference = tight.offer(index, 'team/many-large');
  await tight.succeeds(reference);
  const liar = JSON.parse(Buffer.from(index.root.bytes).toString()) as { manifests: { size: number }[] };
  liar.manifests[0]!.size = 61_000 * 16;
  tight.upstream.putManifest('team/many-large', 'liar', Buffer.from(JSON.stringify(liar)), OCI_INDEX);
  tight.upstream.requests.length = 0;
  await tight.fails(reference.replace(':v1', ':liar'), {
    name: 'InvalidManifestError',
    message: /together, the limit is 976000/,
  });
  assert.equal(tight.upstream.count({ kind: 'manifest', method: 'GET' }), 1);
});

test('an index of as many manifests as the default limit allows can be kept', async () => {
  await using other = await startPullBench();
  const entries = Array.from({ length: 1_000 }, (_, i) => {
    const platform = i === 500 ? 'linux/amd64' : `linux/arm64/v${i}`;
    return { image: noiseImage({ name: `wide ${i}`, platform, layerBytes: [] }), platform };
  });
  const reference = other.offer(buildIndex({ entries }), 'team/wide');
  const receipt = await other.succeeds(reference, { platforms: ['linux/amd64'] });
  assert.equal(receipt.blobs.copied, 1);
  assert.equal((await other.cache.validate(reference)).missing.length, 999);
  assert.equal((await other.cache.pull(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
});
