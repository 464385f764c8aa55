import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_CONFIG, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { buildArtifact, buildImage, noise, noiseImage, noiseLayer } from '../../support/images.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const forever = new AbortController().signal;
const FOREIGN_TYPE = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

test('a single image answers for its own platform, for none, and for no other', async () => {
  const reference = bench.offer(noiseImage({ name: 'single', platform: 'linux/arm64/v8' }), 'team/single');
  const missing = { name: 'PlatformMissingError', code: 'MANIFEST_UNKNOWN' };
  await bench.fails(
    reference,
    { ...missing, message: /single image for linux\/arm64, but linux\/amd64/ },
    { platforms: ['linux/amd64'] },
  );
  assert.equal(bench.upstream.count({ kind: 'blob' }), 1, 'its config alone');
  const both = { platforms: ['linux/amd64', 'linux/arm64'] };
  await bench.fails(reference, { ...missing, message: /cannot be of linux\/amd64, linux\/arm64 at once/ }, both);

  const receipt = await bench.succeeds(reference, { platforms: ['linux/aarch64'] });
  assert.deepEqual(
    receipt.platforms.map(({ platform }) => platform),
    ['linux/arm64'],
  );
  assert.deepEqual(receipt.blobs, { total: 3, present: 1, copied: 2, copiedElsewhere: 0 });
  bench.upstream.requests.length = 0;
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
  assert.equal(bench.upstream.requests.length, 0);
  await bench.fails(reference, missing, both);
  await bench.fails(reference, missing, { platforms: ['linux/s390x'] });
});

test('an artifact has no platform to ask for', async () => {
  const blobs = [{ bytes: noise(500, 'chart'), mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip' }];
  const image = buildArtifact({ artifactType: 'application/vnd.example', blobs });
  const reference = bench.offer(image, 'team/artifact');
  const expected = { name: 'PlatformMissingError', message: /artifact without a platform/ };
  await bench.fails(reference, expected, { platforms: ['linux/amd64'] });
  assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.copied, 2);
  await bench.fails(reference, expected, { platforms: ['linux/amd64'] });
});

test('a manifest without mediaType is pulled', async () => {
  const image = buildImage({ platform: 'linux/amd64', layers: [noiseLayer(700, 'untyped')], omitMediaType: true });
  const reference = bench.offer(image, 'team/untyped');
  bench.upstream.fault(({ kind }) => (kind === 'manifest' ? { headers: { 'content-type': 'text/plain' } } : undefined));
  const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  bench.upstream.clearFaults();
  assert.deepEqual([receipt.mediaType, receipt.digest], [OCI_MANIFEST, image.root.digest]);
});

test('a Docker schema 2 manifest is pulled', async () => {
  const image = noiseImage({ name: 'docker', mediaTypes: 'docker' });
  await bench.succeeds(bench.offer(image, 'team/docker'), { platforms: ['linux/amd64'] });
});

test('schema 1 is refused with what to do', async () => {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 1, name: 'team/old', tag: 'v1', fsLayers: [] }));
  const expected = {
    name: 'InvalidManifestError',
    code: 'MANIFEST_INVALID',
    message: /schema 1.*push the image again/,
  };
  for (const type of ['application/vnd.docker.distribution.manifest.v1+prettyjws', 'application/json']) {
    bench.upstream.putManifest('team/old', 'v1', bytes, type);
    await bench.fails(`${REGISTRY}/team/old:v1`, expected);
  }
});

test('foreign layers that the registry does not hold are skipped, named, and never linked', async () => {
  const bytes = noise(3_000, 'windows');
  const foreign = { mediaType: FOREIGN_TYPE, digest: digestOf(bytes), size: 3_000 };
  const image = buildImage({
    platform: 'windows/amd64',
    layers: [{ foreign, urls: [`${bench.upstream.origin}/elsewhere`] }, noiseLayer(800, 'own')],
    mediaTypes: 'docker',
  });
  const reference = bench.offer(image, 'team/windows');
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(
    receipt.skipped.map(({ digest, mediaType, size }) => ({ digest, mediaType, size })),
    [{ digest: foreign.digest, mediaType: FOREIGN_TYPE, size: 3_000 }],
  );
  assert.match(receipt.skipped[0]!.reason, /foreign/);
  assert.deepEqual((await bench.cache.pull(reference)).skipped, receipt.skipped, 'a hit names them, too');
  assert.equal(receipt.blobs.total, 2);
  assert.equal(bench.upstream.count({ reference: foreign.digest }), 1, 'one question');
  assert.equal(bench.upstream.count({ path: '/elsewhere' }), 0);
  const { repository } = parseReference(reference);
  const links = await bench.cache.services.catalog.findLinks(repository, [foreign.digest], forever);
  assert.equal(links.size, 0);
});

test('a layer that a manifest names twice is fetched once', async () => {
  const twice = noiseLayer(4_000, 'twice');
  const reference = bench.offer(buildImage({ platform: 'linux/amd64', layers: [twice, twice, twice] }), 'team/twice');
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.total, 2);
  assert.equal(bench.upstream.count({ kind: 'blob' }), 2);
});

test('sizes that contradict each other, or the cache, make a manifest invalid', async () => {
  const bytes = noise(1_000, 'contradicted');
  const config = Buffer.from('{"os":"linux","architecture":"amd64"}');
  const layer = (size: number) => ({ mediaType: 'application/x', digest: digestOf(bytes), size });
  const put = (tag: string, ...sizes: number[]): string => {
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.byteLength },
      layers: sizes.map(layer),
    };
    bench.upstream.putManifest('team/sizes', tag, Buffer.from(JSON.stringify(manifest)), OCI_MANIFEST);
    return `${REGISTRY}/team/sizes:${tag}`;
  };
  bench.upstream.putBlob('team/sizes', bytes);
  bench.upstream.putBlob('team/sizes', config);
  bench.upstream.requests.length = 0;
  const invalid = { name: 'InvalidManifestError', code: 'MANIFEST_INVALID' };
  await bench.fails(put('two', 1_000, 999), { ...invalid, message: /two sizes, 1000 and 999/ });
  // Nobody knows yet that this one lies; the registry does.
  await bench.fails(put('lie', 999), { name: 'ContentMismatchError', message: /should have 999 bytes/ });
  await bench.succeeds(put('true', 1_000));
  bench.upstream.requests.length = 0;
  await bench.fails(put('late-lie', 999), {
    ...invalid,
    message: /999 bytes, but the content of that digest in the cache has 1000/,
  });
  assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET' }), 0);
});

test('an image with an empty layer, and one with no layers at all', async () => {
  const empty = { bytes: new Uint8Array(), mediaType: 'application/x' };
  const receipt = await bench.succeeds(
    bench.offer(buildImage({ platform: 'linux/amd64', layers: [empty] }), 'team/empty-layer'),
  );
  assert.equal(receipt.blobs.copied, 2);
  await bench.succeeds(bench.offer(buildImage({ platform: 'linux/amd64', layers: [] }), 'team/no-layers'));
});

test('a platform that is asked for twice, or by two names, is one platform', async () => {
  const reference = bench.offer(noiseImage({ name: 'twice asked' }), 'team/twice-asked');
  const platforms = ['linux/amd64', 'linux/x86_64', 'linux/amd64'];
  await bench.succeeds(reference, { platforms });
  assert.equal((await bench.cache.pull(reference, { platforms })).outcome, 'hit');
});

test('a config larger than a manifest may be is content, and states no platform', async () => {
  await using small = await startPullBench({ limits: { manifestBytes: 2_000 } });
  const layers = [{ bytes: Buffer.from('layer'), mediaType: 'application/x' }];
  const image = buildImage({ platform: 'linux/amd64', layers, config: { Labels: { padding: 'x'.repeat(2_000) } } });
  const reference = small.offer(image, 'team/large-config');
  const { size } = (JSON.parse(Buffer.from(image.root.bytes).toString()) as { config: { size: number } }).config;
  const message = new RegExp(
    `states its platform in a config of ${size} bytes, .* limit is 2000 \\(limits.manifestBytes .*linux/amd64 was asked for; ask without`,
  );
  const expected = { name: 'PlatformMissingError', message };
  await small.fails(reference, expected, { platforms: ['linux/amd64'] });
  assert.equal(small.upstream.count({ kind: 'blob' }), 0);
  const receipt = await small.succeeds(reference);
  assert.deepEqual(
    receipt.platforms.map(({ platform }) => platform),
    ['unknown'],
  );
  assert.equal(receipt.blobs.copied, 2);
});

test('a config is content, whatever is in it: it states no platform, and that is all', async () => {
  const repository = 'team/odd-config';
  const configs = [
    '',
    '[]',
    'null',
    '7',
    'os: linux\n',
    '{"os":"linux"',
    '{"os":1,"architecture":[]}',
    '\u00ff\u00fe\0',
  ];
  for (const [i, text] of configs.entries()) {
    const config = Buffer.from(text, 'latin1');
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.byteLength },
      layers: [],
      annotations: { i: String(i) },
    };
    bench.upstream.putBlob(repository, config);
    bench.upstream.putManifest(repository, `v${i}`, Buffer.from(JSON.stringify(manifest)), OCI_MANIFEST);
    const reference = `${REGISTRY}/${repository}:v${i}`;
    const receipt = await bench.succeeds(reference);
    assert.deepEqual(
      receipt.platforms.map(({ platform }) => platform),
      ['unknown'],
      text,
    );
    assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
    const expected = { name: 'PlatformMissingError', message: /artifact without a platform/ };
    await bench.fails(reference, expected, { platforms: ['linux/amd64'] });
  }
});
