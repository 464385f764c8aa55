import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { noiseImage, type Image } from '../../support/images.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

const manifestRequests = (): string[] =>
  bench.upstream.requests
    .filter(({ kind }) => kind === 'manifest')
    .map(({ method, reference = '' }) => `${method} ${reference.startsWith('sha256:') ? 'digest' : reference}`);

for (const [what, action] of [
  ['that is refused', { status: 405 }],
  ['without a digest', { headers: { 'docker-content-digest': undefined } }],
  ['with a digest of another algorithm', { headers: { 'docker-content-digest': `sha384:${'0'.repeat(96)}` } }],
  ['with a wrong sha512 digest', { headers: { 'docker-content-digest': `sha512:${'0'.repeat(128)}` } }],
] as const) {
  test(`a HEAD ${what} is followed by one GET of the tag`, async () => {
    const image = noiseImage({ name: `head ${what}` });
    const reference = bench.offer(image, `team/${what.replaceAll(' ', '-')}`);
    bench.upstream.fault(when({ kind: 'manifest', method: 'HEAD' }, action));
    const receipt = await bench.succeeds(reference);
    assert.equal(receipt.digest, image.root.digest);
    assert.deepEqual(manifestRequests(), ['HEAD v1', 'GET v1']);
    assert.equal((await bench.cache.pull(reference, { alwaysPull: true })).outcome, 'hit');
  });
}

/** The tag moves from image to image whenever it was asked for; the one it meant before is gone. */
function moving(repository: string, images: readonly Image[]): string {
  const [first, ...others] = images;
  const reference = bench.offer(first!, repository);
  let at = 0;
  const gone = new Set<string>();
  bench.upstream.fault(({ kind, method, reference: asked = '' }) => {
    if (kind !== 'manifest') return undefined;
    if (asked !== 'v1') return gone.has(asked) ? { status: 404 } : undefined;
    const now = images[Math.min(at++, images.length - 1)]!;
    if (method === 'GET') return { body: now.root.bytes };
    gone.add(now.root.digest);
    return { headers: { 'docker-content-digest': now.root.digest } };
  });
  for (const image of others) {
    bench.upstream.putManifest(repository, image.root.digest, image.root.bytes, image.root.mediaType);
    for (const bytes of image.blobs.values()) bench.upstream.putBlob(repository, bytes);
  }
  return reference;
}

test('a tag that moves between HEAD and GET is what its bytes say', async () => {
  const images = [1, 2, 3, 4].map((n) => noiseImage({ name: `move on ${n}` }));
  const receipt = await bench.succeeds(moving('team/moving-on', images));
  assert.equal(receipt.digest, images[1]?.root.digest);
  assert.deepEqual(manifestRequests(), ['HEAD v1', 'GET digest', 'GET v1']);
});

test('a tag that is deleted between HEAD and GET is unknown', async () => {
  const reference = bench.offer(noiseImage({ name: 'deleted meanwhile' }), 'team/deleted-meanwhile');
  bench.upstream.fault(when({ kind: 'manifest', method: 'GET' }, { status: 404 }));
  await bench.fails(reference, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN', message: /"v1"/ });
  assert.deepEqual(manifestRequests(), ['HEAD v1', 'GET digest', 'GET v1']);
});

test('a tag the registry does not have is MANIFEST_UNKNOWN, by the word of a GET', async () => {
  bench.upstream.requests.length = 0;
  await bench.fails(`${REGISTRY}/team/none:v9`, {
    name: 'ManifestUnknownError',
    code: 'MANIFEST_UNKNOWN',
    message: /v9/,
  });
  assert.deepEqual(manifestRequests(), ['HEAD v9', 'GET v9']);
  assert.equal((await bench.cache.validate(`${REGISTRY}/team/none:v9`)).state, 'unknown');
});

test('a digest is not resolved, and a tag beside it is only remembered', async () => {
  const image = noiseImage({ name: 'by digest' });
  bench.offer(image, 'team/by-digest');
  const { digest } = image.root;
  const receipt = await bench.succeeds(`${REGISTRY}/team/by-digest:v9@${digest}`);
  assert.equal(receipt.reference, `${REGISTRY}/team/by-digest:v9@${digest}`);
  assert.deepEqual(manifestRequests(), ['GET digest']);
  bench.upstream.requests.length = 0;
  assert.equal((await bench.cache.pull(`${REGISTRY}/team/by-digest@${digest}`)).outcome, 'hit');
  assert.equal((await bench.cache.pull(`${REGISTRY}/team/by-digest@${digest}`, { alwaysPull: true })).outcome, 'hit');
  assert.equal(bench.upstream.requests.length, 0, 'a digest means what it means');
  assert.equal(
    (await bench.cache.validate(`${REGISTRY}/team/by-digest:v9`)).state,
    'unknown',
    'the tag was not resolved',
  );
});

test('a tag whose digest this repository has already needs one HEAD and moves the pointer', async () => {
  const image = noiseImage({ name: 'two tags' });
  await bench.succeeds(bench.offer(image, 'team/two-tags'));
  const second = bench.offer(image, 'team/two-tags', 'v2');
  const receipt = await bench.succeeds(second);
  assert.equal(receipt.outcome, 'pulled');
  assert.deepEqual(receipt.blobs, { total: 3, present: 3, copied: 0, copiedElsewhere: 0 });
  assert.deepEqual(
    bench.upstream.requests.map(({ method, reference }) => `${method} ${reference}`),
    ['HEAD v2'],
  );
});

test('a digest of an algorithm that is not kept is refused without a request', () => {
  bench.upstream.requests.length = 0;
  assert.throws(() => bench.cache.pull(`${REGISTRY}/team/app@sha384:${'0'.repeat(96)}`), {
    name: 'InvalidDigestError',
  });
  assert.equal(bench.upstream.requests.length, 0);
});

test('while a moved tag fails to land, the old image stays what it was', async () => {
  const [old, next] = [noiseImage({ name: 'old' }), noiseImage({ name: 'next', layerBytes: [5_000] })];
  const reference = bench.offer(old, 'team/half-way');
  await bench.succeeds(reference);
  bench.offer(next, 'team/half-way');
  bench.upstream.fault(times(1, when({ kind: 'blob', method: 'GET' }, { status: 404 })));
  await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN' }, { alwaysPull: true });
  const still = await bench.cache.pull(reference);
  assert.deepEqual([still.outcome, still.digest], ['hit', old.root.digest]);
  const moved = await bench.succeeds(reference, { alwaysPull: true });
  assert.deepEqual([moved.outcome, moved.digest], ['pulled', next.root.digest]);
});
