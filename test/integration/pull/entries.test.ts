import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { DOCKER_LIST, OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import { checkContent, checkPublished } from '../../support/invariants.ts';
import { listing, multiArchImage, noise, noiseImage, type Image, type ListedEntry } from '../../support/images.ts';
import { when, type UpstreamRequest } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const CACHE_CONFIG = 'application/vnd.buildkit.cacheconfig.v0';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const UNKNOWN = 'application/vnd.example.unknown.v1+json';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

const { signal } = new AbortController();
const text = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const blob = (name: string, mediaType?: string, size = 1_000): ListedEntry => ({
  bytes: noise(size, name),
  as: 'blob',
  ...(mediaType === undefined ? {} : { mediaType }),
});
const manifest = (bytes: Uint8Array, mediaType?: string, contentType?: string): ListedEntry => ({
  bytes,
  as: 'manifest',
  ...(mediaType === undefined ? {} : { mediaType }),
  ...(contentType === undefined ? {} : { contentType }),
});
const digestsOf = (entries: readonly ListedEntry[]): Digest[] => entries.map(({ bytes }) => digestOf(bytes));
const validated = async (reference: string, deep = true) => await bench.cache.validate(reference, { deep });

async function lose(...digests: Digest[]): Promise<void> {
  const { bucket: Bucket } = bench.stack;
  for (const digest of digests) await bench.s3.send(new DeleteObjectCommand({ Bucket, Key: blobObjectKey(digest) }));
}

/** BuildKit's registry cache: `image-manifest=false`. */
const buildkit = (name: string, mediaType?: string): [Image, ListedEntry[]] => {
  const config = text({ layers: [{ blob: 'sha256:x', parent: -1 }], records: [{ digest: name }] });
  const entries = [
    blob(`${name} 1`, LAYER),
    blob(`${name} 2`, LAYER),
    { bytes: config, as: 'blob' as const, mediaType: CACHE_CONFIG },
  ];
  return [listing(entries, [], mediaType), entries];
};

/** Pulls it, and holds every answer that the cache can give against what the index lists. */
async function pullsWhole(image: Image, repository: string, counted: number): Promise<string> {
  const reference = bench.offer(image, repository);
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(receipt.blobs, { total: counted, present: 0, copied: counted, copiedElsewhere: 0 });
  const again = await bench.succeeds(reference);
  assert.deepEqual([again.outcome, again.blobs.present, again.bytes.present], ['hit', counted, receipt.bytes.total]);
  assert.deepEqual(again.platforms, receipt.platforms);
  const content = await checkContent(bench.stack, [...image.manifests.keys(), ...image.blobs.keys()]);
  assert.equal(content.size, image.manifests.size + image.blobs.size);
  assert.ok(await checkPublished(bench.cache.services, reference, content));
  assert.equal((await validated(reference)).state, 'complete');
  bench.upstream.requests.length = 0;
  const known = await bench.succeeds(reference, { alwaysPull: true });
  assert.deepEqual([known.outcome, known.registryRequests.total], ['hit', 1]);
  return reference;
}

for (const [what, mediaType] of [
  ['an OCI index', OCI_INDEX],
  ['a Docker list', DOCKER_LIST],
] as const) {
  test(`a BuildKit cache as ${what} is copied, whole, and asked for once`, async () => {
    const [image, entries] = buildkit(what, mediaType);
    const reference = await pullsWhole(image, `team/cache-${mediaType.length}`, 3);
    assert.deepEqual((await bench.succeeds(reference)).platforms, []);
    const other = bench.offer(image, 'team/cache-counted', mediaType === OCI_INDEX ? 'oci' : 'docker');
    await bench.succeeds(other);
    // Public by now: each is confirmed by HEAD, and nothing is fetched.
    assert.deepEqual(
      bench.upstream.requests.map(({ kind, method }) => `${method} ${kind}`).sort(),
      ['GET manifest', ...entries.map(() => 'HEAD blob'), 'HEAD manifest'].sort(),
    );
  });
}

test('a blob that an index lists and that is lost makes it incomplete, comes again, or counts when it is put back', async () => {
  const [image, entries] = buildkit('lost');
  const reference = await pullsWhole(image, 'team/lost', 3);
  const [first, second] = digestsOf(entries) as [Digest, Digest];
  await lose(first);
  const { state, missing } = await validated(reference);
  assert.deepEqual(
    [state, missing.map(({ digest, reason }) => [digest, reason])],
    ['incomplete', [[first, 'the object is gone from the bucket']]],
  );
  assert.deepEqual(
    (await validated(reference, false)).missing.map(({ reason }) => reason),
    ['the blob is gone from the store'],
  );
  assert.equal((await bench.succeeds(reference)).blobs.copied, 1);
  await lose(second);
  assert.equal((await validated(reference)).state, 'incomplete');
  const { bytes } = entries[1]!;
  await bench.s3.send(new PutObjectCommand({ Bucket: bench.stack.bucket, Key: blobObjectKey(second), Body: bytes }));
  bench.upstream.requests.length = 0;
  assert.equal((await bench.succeeds(reference)).outcome, 'hit');
  assert.equal(bench.upstream.requests.length, 0);
});

test('after a loss elsewhere it is still a hit, by the rows of what it lists', async () => {
  const [image] = buildkit('epoch');
  const reference = await pullsWhole(image, 'team/epoch', 3);
  const other = noiseImage({ name: 'elsewhere' });
  await bench.succeeds(bench.offer(other, 'team/elsewhere'));
  await lose([...other.blobs.keys()][1]!);
  await validated(`${REGISTRY}/team/elsewhere:v1`);
  bench.upstream.requests.length = 0;
  for (let round = 0; round < 2; round++) assert.equal((await bench.succeeds(reference)).outcome, 'hit');
  assert.equal(bench.upstream.requests.length, 0);
});

test('children without a type are what the registry gives: images, an index, a blob', async () => {
  const [amd64, arm64, inner] = ['amd64', 'arm64', 'inner'].map((name) =>
    noiseImage({ name: `typeless ${name}`, platform: name === 'arm64' ? 'linux/arm64' : 'linux/amd64' }),
  ) as [Image, Image, Image];
  const nested = listing([manifest(inner.root.bytes, OCI_MANIFEST)]);
  const on = (image: Image, architecture: string): ListedEntry => ({
    ...manifest(image.root.bytes, undefined, OCI_MANIFEST),
    platform: { os: 'linux', architecture },
  });
  const root = listing([
    on(amd64, 'amd64'),
    on(arm64, 'arm64'),
    manifest(nested.root.bytes, undefined, OCI_INDEX),
    blob('typeless blob'),
  ]);
  const image = {
    root: root.root,
    manifests: new Map([
      ...amd64.manifests,
      ...arm64.manifests,
      ...inner.manifests,
      ...nested.manifests,
      ...root.manifests,
    ]),
    blobs: new Map([...amd64.blobs, ...arm64.blobs, ...inner.blobs, ...root.blobs]),
  };
  const one = bench.offer(image, 'team/typeless-one');
  const narrow = await bench.succeeds(one, { platforms: ['linux/amd64'] });
  assert.equal(narrow.blobs.total, 3 + 3 + 1);
  assert.deepEqual(narrow.platforms.map(({ platform, complete }) => [platform, complete]).sort(), [
    ['linux/amd64', true],
    ['unknown', true],
    ['unknown', true],
    ['unknown', true],
  ]);
  const wide = await bench.succeeds(one);
  assert.deepEqual([wide.outcome, wide.blobs.total, wide.blobs.copied], ['pulled', 10, 3]);
  assert.equal((await bench.succeeds(one, { platforms: ['linux/arm64'] })).outcome, 'hit');
  assert.equal((await validated(one)).state, 'complete');
  // A layer of a child whose type only its bytes say.
  await lose([...arm64.blobs.keys()][1]!);
  assert.equal((await validated(one)).state, 'incomplete');
  assert.equal((await bench.succeeds(one)).blobs.copied, 1);
});

for (const [what, entry] of [
  ['JSON of an unknown type', manifest(text({ hello: 'unknown' }), UNKNOWN)],
  ['JSON whose own type is unknown', manifest(text({ mediaType: UNKNOWN, layers: [{ x: 1 }] }), UNKNOWN)],
  ['something that looks like an image', manifest(text({ layers: [], config: {} }), UNKNOWN)],
  ['what is no JSON', manifest(Buffer.from('<x/>'), 'application/vnd.example+xml')],
  ['JSON without any type', manifest(text({ plain: true }), undefined, 'application/json')],
] as const) {
  test(`a manifest that is ${what} is kept byte for byte`, async () => {
    const image = listing([entry], [noiseImage({ name: what })]);
    await pullsWhole(image, `team/opaque-${digestOf(entry.bytes).slice(-8)}`, 4);
  });
}

test('an index of nothing but manifests of unknown types is not empty', async () => {
  const image = listing([manifest(text({ n: 1 }), UNKNOWN), manifest(text({ n: 2 }), UNKNOWN)]);
  const reference = await pullsWhole(image, 'team/opaque-only', 2);
  const [first] = [...image.manifests.keys()];
  await lose(first!);
  assert.equal((await validated(reference)).state, 'incomplete');
  assert.equal((await bench.succeeds(reference)).outcome, 'pulled');
  assert.equal((await validated(reference)).state, 'complete');
});

for (const [what, action] of [
  ['405', { status: 405 }],
  ['403', { status: 403 }],
  ['500', { status: 500 }],
  ['a redirect', { status: 307, headers: { location: '/elsewhere' } }],
  ['another length', { headers: { 'content-length': '7' } }],
] as const) {
  test(`a registry that answers HEAD of a blob with ${what} is asked for the blob itself`, async () => {
    const [image] = buildkit(`head ${what}`);
    bench.upstream.fault(when({ kind: 'blob', method: 'HEAD' }, action));
    const receipt = await bench.succeeds(bench.offer(image, `team/head-${what.replaceAll(' ', '-')}`));
    assert.equal(receipt.blobs.copied, 3);
  });
}

test('a registry that refuses to be asked for such a manifest is asked for the blob', async () => {
  const image = listing([blob('refused typeless')]);
  bench.upstream.fault(when({ kind: 'manifest', reference: [...image.blobs.keys()][0]! }, { status: 400 }));
  assert.equal((await bench.succeeds(bench.offer(image, 'team/refused'))).blobs.copied, 1);
});

for (const status of [500, 503, 403]) {
  test(`a registry that answers ${status} where a layer is asked for as a manifest is asked for the blob`, async () => {
    const [image, entries] = buildkit(`broken ${status}`);
    const isEntry = ({ reference = '' }: UpstreamRequest): boolean =>
      digestsOf(entries).some((one) => one === reference);
    const repository = `team/as-manifest-${status}`;
    const reference = bench.offer(image, repository);
    bench.upstream.fault(when({ kind: 'blob', method: 'HEAD' }, { status: 405 }));
    bench.upstream.fault((asked) => (asked.kind === 'manifest' && isEntry(asked) ? { status } : undefined));
    assert.equal((await bench.succeeds(reference)).blobs.copied, 3);
    // Where it is no blob either, nobody said that it is not there (I6).
    const name = status === 403 ? 'DeniedError' : 'UpstreamUnavailableError';
    const other = bench.offer(buildkit(`broken, and no blob ${status}`)[0], `${repository}-gone`);
    const gone = digestOf(buildkit(`broken, and no blob ${status}`)[1][1]!.bytes);
    bench.upstream.deleteBlob(`${repository}-gone`, gone);
    bench.upstream.fault(when({ kind: 'manifest', reference: gone }, { status }));
    await bench.fails(other, { name, message: new RegExp(`answered ${status}`) });
  });

  test(`an entry without a type whose manifest answers ${status} is not taken for a blob`, async () => {
    const image = listing([blob(`typeless ${status}`)]);
    const reference = bench.offer(image, `team/typeless-${status}`);
    bench.upstream.fault(when({ kind: 'manifest', reference: [...image.blobs.keys()][0]! }, { status }));
    const name = status === 403 ? 'DeniedError' : 'UpstreamUnavailableError';
    await bench.fails(reference, { name, message: new RegExp(`answered ${status}`) });
  });
}

test('an entry above the limit of a manifest is a blob, whatever its type', async () => {
  const image = listing([blob('large typeless', undefined, 5_000_000), blob('large layer', LAYER, 5_000_000)]);
  await pullsWhole(image, 'team/large', 2);
});

test('what the registry has neither as manifest nor as blob is named where it is wanted, and only there', async () => {
  for (const mediaType of [LAYER, UNKNOWN, undefined]) {
    const gone = blob(`gone ${mediaType}`, mediaType);
    const digest = digestOf(gone.bytes);
    const image = listing([blob(`there ${mediaType}`, LAYER), gone]);
    const name = `team/gone-${digest.slice(-8)}`;
    const reference = bench.offer(image, name);
    bench.upstream.deleteBlob(name, digest);
    const message = new RegExp(`no blob ${digest}.*manifests\\[1\\] of ${image.root.digest}`);
    await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN', message });
    assert.notEqual((await validated(reference)).state, 'complete');
  }
  const elsewhere = { ...blob('gone for arm64', UNKNOWN), platform: { os: 'linux', architecture: 'arm64' } };
  const own = { ...blob('for amd64', UNKNOWN), platform: { os: 'linux', architecture: 'amd64' } };
  const image = listing([own, elsewhere]);
  const reference = bench.offer(image, 'team/gone-elsewhere');
  bench.upstream.deleteBlob('team/gone-elsewhere', digestOf(elsewhere.bytes));
  const { blobs } = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  assert.equal(blobs.total, 1);
  await bench.fails(reference, { name: 'BlobUnknownError', message: new RegExp(digestOf(elsewhere.bytes)) });
  assert.equal((await bench.succeeds(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
});

test('wrong bytes of an entry are refused', async () => {
  const entry = blob('wrong', UNKNOWN);
  const image = listing([entry]);
  const digest = digestOf(entry.bytes);
  const reference = bench.offer({ ...image, blobs: new Map([[digest, noise(1_000, 'other')]]) }, 'team/wrong');
  await bench.fails(reference, { name: 'ContentMismatchError', message: new RegExp(digest) });
  const short = bench.offer({ ...image, blobs: new Map([[digest, entry.bytes.subarray(1)]]) }, 'team/short');
  await bench.fails(short, { name: 'ContentMismatchError', message: new RegExp(digest) });
});

test('a platform that is asked for and not there is an error as ever', async () => {
  const [image] = buildkit('platform');
  const reference = bench.offer(image, 'team/platform');
  await bench.fails(
    reference,
    { name: 'PlatformMissingError', message: /no platforms at all/ },
    { platforms: ['linux/amd64'] },
  );
});

test('who lists the manifest of another image as a blob takes nothing from what that image needs', async () => {
  for (const order of ['image first', 'listing first']) {
    const image = noiseImage({ name: order });
    const listed = listing([{ bytes: image.root.bytes, as: 'blob', mediaType: UNKNOWN }]);
    const name = `team/${order.replace(' ', '-')}`;
    const pulls = [
      () => bench.succeeds(bench.offer(image, name)),
      () => bench.succeeds(bench.offer(listed, `${name}-listing`)),
    ];
    for (const pull of order === 'image first' ? pulls : pulls.reverse()) await pull();
    const reference = `${REGISTRY}/${name}:v1`;
    const layer = [...image.blobs.keys()][1]!;
    await lose(layer);
    assert.equal((await validated(reference)).state, 'incomplete', order);
    assert.equal((await validated(`${REGISTRY}/${name}-listing:v1`)).state, 'complete', order);
    assert.equal((await validated(reference, false)).state, 'incomplete', order);
    const { catalog } = bench.cache.services;
    const found = await catalog.find(parseReference(reference), { consistent: true, signal });
    const whole = await catalog.findWhole(image.root.digest, [image.root.digest], { remember: false, signal });
    assert.deepEqual([found.root?.complete.size, whole.size], [0, 0], order);
  }
});

test('ordinary images cost the same requests', async () => {
  const image = multiArchImage({ name: 'ordinary', attestations: true });
  const { registryRequests } = await bench.succeeds(bench.offer(image, 'team/ordinary'));
  assert.deepEqual(
    [registryRequests.manifest, registryRequests.blob],
    [2 + image.manifests.size - 1, image.blobs.size],
  );
});
