import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DOCKER_LIST, OCI_INDEX } from '../../../lib/oci/media-type.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import {
  buildArtifact,
  buildAttestation,
  buildIndex,
  multiArchImage,
  noiseImage,
  noiseLayer,
  type Image,
} from '../../support/images.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const platformsOf = (receipt: Receipt): string[] => receipt.platforms.map(({ platform }) => platform);
const manifestGets = (): string[] =>
  bench.upstream.requests
    .filter(({ kind, method }) => kind === 'manifest' && method === 'GET')
    .map(({ reference = '' }) => reference);
const forever = new AbortController().signal;
const linksOf = async (reference: string, image: Image): Promise<string[]> => {
  const { catalog } = bench.cache.services;
  const digests = [...image.manifests.keys(), ...image.blobs.keys()];
  return [...(await catalog.findLinks(parseReference(reference).repository, digests, forever)).keys()];
};

test('a sparse index is stored byte for byte, and only what was asked for is linked', async () => {
  const image = multiArchImage({ name: 'sparse' });
  const reference = bench.offer(image, 'team/sparse');
  await bench.succeeds(reference, { platforms: ['linux/arm64'] });
  const stored = await bench.cache.services.store.read(image.root, 1_000_000, forever);
  assert.deepEqual(Buffer.from(stored), Buffer.from(image.root.bytes));
  const arm64 = image.children.get('linux/arm64')!;
  const expected = [image.root.digest, ...arm64.manifests.keys(), ...arm64.blobs.keys()];
  assert.deepEqual((await linksOf(reference, image)).sort(), expected.sort());
  const validation = await bench.cache.validate(reference);
  assert.equal(validation.state, 'incomplete');
  assert.deepEqual(
    validation.missing.map(({ reason }) => reason),
    ['platform linux/amd64 was not pulled'],
  );
});

test('a missing platform fails before any blob moves, and names what there is', async () => {
  const reference = bench.offer(multiArchImage({ name: 'lacking' }), 'team/lacking');
  const platforms = ['linux/amd64', 'linux/s390x', 'windows/amd64'];
  await bench.fails(
    reference,
    {
      name: 'PlatformMissingError',
      code: 'MANIFEST_UNKNOWN',
      message: /has no linux\/s390x, windows\/amd64; it has linux\/amd64, linux\/arm64/,
    },
    { platforms },
  );
  assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
  assert.equal(manifestGets().length, 1);
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
});

test('aliases and variants find their platforms, and every match is taken', async () => {
  const image = multiArchImage({
    name: 'variants',
    platforms: ['linux/arm/v6', 'linux/arm/v7', 'linux/arm64/v8', 'linux/amd64'],
  });
  const reference = bench.offer(image, 'team/variants');
  const pull = async (platform: string): Promise<string[]> =>
    platformsOf(await bench.succeeds(reference, { platforms: [platform] }));
  assert.deepEqual(await pull('linux/arm/v7'), ['linux/arm/v7']);
  assert.deepEqual(await pull('linux/arm'), ['linux/arm/v6', 'linux/arm/v7']);
  assert.deepEqual(await pull('linux/aarch64'), ['linux/arm64']);
  assert.deepEqual(await pull('linux/x86_64/v1'), ['linux/amd64']);
  bench.upstream.requests.length = 0;
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit', 'by now all are there');
  assert.equal(bench.upstream.requests.length, 0);
});

describe('nested indexes', () => {
  const leaf = (platform: string) => ({ image: noiseImage({ name: 'nested', platform }), platform });
  const arm = buildIndex({ entries: [leaf('linux/arm/v6'), leaf('linux/arm/v7')] });
  const all = buildIndex({ entries: [{ image: arm }, leaf('linux/arm64')] });
  const image = buildIndex({ entries: [{ image: all }, leaf('linux/amd64')] });
  const reference = `${REGISTRY}/team/nested:v1`;
  before(() => bench.offer(image, 'team/nested'));

  test('are read, whatever platform was asked for', async () => {
    const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
    assert.deepEqual(platformsOf(receipt), ['linux/amd64']);
    assert.equal(receipt.blobs.copied, 3);
    assert.equal(manifestGets().length, 4, 'three indexes, one manifest');
  });

  test('hold platforms two levels down', async () => {
    bench.upstream.requests.length = 0;
    const receipt = await bench.succeeds(reference, { platforms: ['linux/arm/v7'] });
    assert.deepEqual(platformsOf(receipt), ['linux/arm/v7']);
    assert.equal(manifestGets().length, 1, 'the indexes come from the cache');
  });

  test('are all taken where no platform is named', async () => {
    const receipt = await bench.succeeds(reference);
    assert.deepEqual(platformsOf(receipt), ['linux/amd64', 'linux/arm64', 'linux/arm/v6', 'linux/arm/v7']);
    assert.equal(receipt.blobs.total, 12);
    assert.equal(receipt.blobs.copied, 6);
    bench.upstream.requests.length = 0;
    const hit = await bench.cache.pull(reference);
    assert.deepEqual([hit.outcome, hit.blobs.present], ['hit', 12]);
  });
});

test('entries without a platform go along with every request', async () => {
  const extra = buildArtifact({
    artifactType: 'application/x',
    blobs: [{ bytes: Buffer.from('docs'), mediaType: 'text/plain' }],
  });
  const image = buildIndex({
    entries: [
      { image: noiseImage({ name: 'along' }), platform: 'linux/amd64' },
      { image: noiseImage({ name: 'along', platform: 'linux/arm64' }), platform: 'linux/arm64' },
      { image: extra },
    ],
  });
  const receipt = await bench.succeeds(bench.offer(image, 'team/along'), { platforms: ['linux/amd64'] });
  assert.deepEqual(platformsOf(receipt), ['linux/amd64', 'unknown']);
  assert.equal(receipt.blobs.total, 5);
});

test('an index of nothing but entries without platform has no platform to ask for', async () => {
  const image = buildIndex({ entries: [{ image: noiseImage({ name: 'no platforms' }) }] });
  const reference = bench.offer(image, 'team/no-platforms');
  const expected = { name: 'PlatformMissingError', message: /it has no platforms at all/ };
  await bench.fails(reference, expected, { platforms: ['linux/amd64'] });
  await bench.succeeds(reference);
});

test('attestations go along with the platform that they describe', async () => {
  const image = multiArchImage({ name: 'attested', attestations: true });
  const reference = bench.offer(image, 'team/attested');
  const amd64 = image.children.get('linux/amd64')!;
  const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  assert.deepEqual(platformsOf(receipt), ['linux/amd64']);
  assert.deepEqual(
    manifestGets().sort(),
    [image.root.digest, amd64.root.digest, buildAttestation(amd64).root.digest].sort(),
  );
  assert.equal(receipt.blobs.total, amd64.blobs.size + buildAttestation(amd64).blobs.size);
});

test('a configured list of platforms narrows an index, and nothing else', async () => {
  await using narrow = await startPullBench({ registry: { platforms: ['linux/amd64'] } });
  const index = multiArchImage({ name: 'narrow' });
  const reference = narrow.offer(index, 'team/narrow');
  assert.deepEqual(platformsOf(await narrow.succeeds(reference)), ['linux/amd64']);
  assert.equal((await narrow.cache.pull(reference)).outcome, 'hit');
  assert.deepEqual(platformsOf(await narrow.succeeds(reference, { platforms: ['linux/arm64'] })), ['linux/arm64']);

  const single = noiseImage({ name: 'narrow single', platform: 'linux/s390x' });
  assert.deepEqual(platformsOf(await narrow.succeeds(narrow.offer(single, 'team/single'))), ['linux/s390x']);
  const artifact = buildArtifact({ artifactType: 'application/x', blobs: [] });
  assert.deepEqual(platformsOf(await narrow.succeeds(narrow.offer(artifact, 'team/artifact'))), ['unknown']);
  assert.equal((await narrow.cache.pull(`${REGISTRY}/team/artifact:v1`)).outcome, 'hit');
});

test('a Docker schema 2 list is pulled like an index', async () => {
  const image = multiArchImage({ name: 'docker', mediaTypes: 'docker' });
  const receipt = await bench.succeeds(bench.offer(image, 'team/docker'));
  assert.equal(receipt.mediaType, DOCKER_LIST);
  assert.deepEqual(platformsOf(receipt), ['linux/amd64', 'linux/arm64']);
});

test('an index without mediaType is what its Content-Type or its fields say', async () => {
  const entries = [{ image: noiseImage({ name: 'untyped' }), platform: 'linux/amd64' }];
  const image = buildIndex({ entries, omitMediaType: true });
  for (const contentType of [OCI_INDEX, 'application/json', undefined]) {
    const reference = bench.offer(image, `team/untyped-${contentType?.length ?? 0}`);
    bench.upstream.fault(({ kind, reference: asked }) =>
      kind === 'manifest' && asked === image.root.digest ? { headers: { 'content-type': contentType } } : undefined,
    );
    assert.equal((await bench.succeeds(reference)).mediaType, OCI_INDEX);
    bench.upstream.clearFaults();
  }
});

test('an entry whose bytes have another size, or are of another kind, is refused', async () => {
  const leaf = noiseImage({ name: 'contradiction' });
  const inner = buildIndex({ entries: [{ image: leaf, platform: 'linux/amd64' }] });
  const entryOf = (root: Image['root'], changes: object) => ({
    mediaType: root.mediaType,
    digest: root.digest,
    size: root.size,
    platform: { os: 'linux', architecture: 'amd64' },
    ...changes,
  });
  const cases = [
    ['size', [entryOf(leaf.root, { size: leaf.root.size + 1 })], /has \d+ bytes, but it has/],
    ['no-manifest', [entryOf(inner.root, { mediaType: leaf.root.mediaType })], /not what its bytes/],
    // Taken for an index it would be complete without any of its blobs (I2).
    ['no-index', [entryOf(leaf.root, { mediaType: OCI_INDEX })], /not what its bytes/],
    ['both', [entryOf(leaf.root, {}), entryOf(leaf.root, { mediaType: OCI_INDEX })], /or another entry, say/],
  ] as const;
  for (const [tag, manifests, message] of cases) {
    bench.offer(inner, 'team/contradiction', 'inner');
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
    bench.upstream.putManifest('team/contradiction', tag, bytes, OCI_INDEX);
    await bench.fails(`${REGISTRY}/team/contradiction:${tag}`, { name: 'InvalidManifestError', message });
    assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
  }
});

test('layers that platforms share are fetched once', async () => {
  const shared = noiseLayer(9_000, 'shared by three');
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/s390x'];
  const image = multiArchImage({ name: 'sharing', platforms, sharedLayers: [shared, shared] });
  const receipt = await bench.succeeds(bench.offer(image, 'team/sharing'));
  // Three configs, three times two own layers, one shared.
  assert.equal(receipt.blobs.copied, 10);
  assert.equal(bench.upstream.count({ kind: 'blob' }), 10);
});
