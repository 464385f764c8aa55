import { HeadObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { buildIndex, noiseImage, noiseLayer, upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY as PRIVATE, startPullBench, type PullBench } from './pull-bench.ts';

/** A registry that anybody may read, and that anybody may run. */
const OPEN = 'open.example.test';
const LOGIN = { username: 'alice', password: 'secret of alice' };
const SECRET_BYTES = 6_000;
const secretLayer = noiseLayer(SECRET_BYTES, 'private to alice');

let open: TestUpstream;
let bench: PullBench;
let secret: Digest;

before(async () => {
  open = await startUpstream();
  bench = await startPullBench({
    registry: { credentials: 'docker' },
    registries: { [OPEN]: { endpoint: open.origin, credentials: 'none', public: true } },
    upstream: { auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } },
  });
  await bench.login({ [PRIVATE]: LOGIN });
  const image = noiseImage({ name: 'private', sharedLayers: [secretLayer] });
  secret = digestOfSecret(image);
  await bench.succeeds(bench.offer(image, 'alice/app'));
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await open.close();
});
beforeEach(() => {
  bench.upstream.requests.length = 0;
  open.requests.length = 0;
});

const digestOfSecret = (image: Image): Digest =>
  [...image.blobs].find(([, bytes]) => bytes.byteLength === SECRET_BYTES)![0];

/** An image of the open registry that names the secret blob; `holds`: whether the registry really has it. */
function offerOpen(repository: string, name: string, holds: boolean): string {
  const image = noiseImage({ name, sharedLayers: [secretLayer] });
  open.addImage(repository, upstreamImage(image, 'v1'));
  if (!holds) open.deleteBlob(repository, secret);
  return `${OPEN}/${repository}:v1`;
}

const isLinked = async (reference: string): Promise<boolean> => {
  const { repository } = parseReference(reference);
  return (await bench.cache.services.catalog.findLinks(repository, [secret], AbortSignal.timeout(5_000))).has(secret);
};
const secretObject = async (): Promise<unknown> => {
  const key = `blobs/sha256/${secret.slice('sha256:'.length)}`;
  const { ETag, LastModified } = await bench.s3.send(new HeadObjectCommand({ Bucket: bench.stack.bucket, Key: key }));
  return { ETag, LastModified };
};
const requestsFor = (upstream: TestUpstream): string[] =>
  upstream.requests.filter(({ reference }) => reference === secret).map(({ method }) => method);

test('a registry that only names a private digest gets nothing (I9)', async () => {
  const reference = offerOpen('mallory/app', 'hostile', false);
  await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN' });
  assert.equal(await isLinked(reference), false);
  assert.equal((await bench.cache.validate(reference)).state, 'unknown');
  assert.equal(bench.upstream.requests.length, 0, 'nobody else is asked');
  // Asking once more, by whatever name, changes nothing.
  await bench.fails(reference, { name: 'BlobUnknownError' }, { alwaysPull: true, platforms: ['linux/amd64'] });
  assert.equal(await isLinked(reference), false);
});

test('a registry that answers with other bytes proves nothing', async () => {
  const reference = offerOpen('mallory/liar', 'liar', false);
  open.putBlob('mallory/liar', Buffer.alloc(SECRET_BYTES, 'x'), secret);
  await bench.fails(reference, { name: 'ContentMismatchError' });
  assert.equal(await isLinked(reference), false);
});

test('another repository of the same registry must confirm that it has the blob', async () => {
  const image = noiseImage({ name: 'unconfirmed', sharedLayers: [secretLayer] });
  const reference = bench.offer(image, 'alice/unconfirmed');
  bench.upstream.deleteBlob('alice/unconfirmed', secret);
  await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN' });
  assert.equal(await isLinked(reference), false);
  // Before the claim, under it, and the attempt at a proof.
  assert.deepEqual(requestsFor(bench.upstream), ['HEAD', 'HEAD', 'GET']);
});

test('a repository that confirms it needs no GET, and is not asked again', async () => {
  const image = noiseImage({ name: 'confirmed', sharedLayers: [secretLayer] });
  const reference = bench.offer(image, 'alice/confirmed');
  const before = await secretObject();
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(requestsFor(bench.upstream), ['HEAD']);
  assert.deepEqual(receipt.blobs, { total: 4, present: 1, copied: 3, copiedElsewhere: 0 });
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length);
  assert.deepEqual(await secretObject(), before);
  assert.equal(await isLinked(reference), true);
  bench.upstream.requests.length = 0;
  const other = noiseImage({ name: 'confirmed again', sharedLayers: [secretLayer] });
  await bench.succeeds(bench.offer(other, 'alice/confirmed', 'v2'));
  assert.deepEqual(requestsFor(bench.upstream), [], 'the link is the proof');
});

test('a 403 on the question confirms nothing: the bytes are the proof, or what the registry says of them is told', async () => {
  const image = noiseImage({ name: 'forbidden', sharedLayers: [secretLayer] });
  const reference = bench.offer(image, 'alice/forbidden');
  bench.upstream.fault(({ reference: asked }) => (asked === secret ? { status: 403 } : undefined));
  await bench.fails(reference, { name: 'DeniedError', code: 'DENIED' });
  bench.upstream.clearFaults();
  bench.upstream.fault(({ method, reference: asked }) =>
    method === 'HEAD' && asked === secret ? { status: 403 } : undefined,
  );
  bench.upstream.requests.length = 0;
  await bench.succeeds(reference);
  bench.upstream.clearFaults();
  assert.deepEqual(requestsFor(bench.upstream), ['HEAD', 'HEAD', 'GET']);
});

test('a private manifest is no hit for a repository that only names it', async () => {
  const image = noiseImage({ name: 'private', sharedLayers: [secretLayer] });
  const { digest } = image.root;
  const byDigest = `${OPEN}/mallory/app@${digest}`;
  await bench.fails(byDigest, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN' });
  const index = buildIndex({ entries: [{ image, platform: 'linux/amd64' }] });
  open.putManifest('mallory/index', 'v1', index.root.bytes, index.root.mediaType);
  await bench.fails(`${OPEN}/mallory/index:v1`, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN' });
  // The same credential, but another repository: it has to have the manifest itself.
  await bench.fails(`${PRIVATE}/alice/none@${digest}`, { name: 'ManifestUnknownError' });
  assert.equal((await bench.cache.pull(`${PRIVATE}/alice/app:v1`)).outcome, 'hit');
});

test('waiting for another pull to land a private blob is no way to it', async () => {
  const layer = noiseLayer(300_000, 'private and slow');
  const [own, hostile] = ['slow', 'waiting'].map((name) => noiseImage({ name, sharedLayers: [layer] })) as [
    Image,
    Image,
  ];
  const [slow] = [...own.blobs].find(([, bytes]) => bytes.byteLength === 300_000)!;
  open.addImage('mallory/waiting', upstreamImage(hostile, 'v1'));
  open.deleteBlob('mallory/waiting', slow);
  const reference = bench.offer(own, 'alice/slow');
  bench.upstream.fault(({ reference: asked, method }) =>
    asked === slow && method === 'GET' ? { chunkDelayMs: 100 } : undefined,
  );
  const pulling = bench.cache.pull(reference);
  for (let looks = 0; looks < 1_000 && bench.upstream.count({ reference: slow }) === 0; looks++) await sleep(5);
  await assert.rejects(bench.cache.pull(`${OPEN}/mallory/waiting:v1`), { name: 'BlobUnknownError' });
  assert.equal((await pulling).outcome, 'pulled');
  bench.upstream.clearFaults();
  assert.equal((await bench.cache.validate(`${OPEN}/mallory/waiting:v1`)).state, 'unknown');
  await bench.assertClean();
});

// From here on the blob is public.
test('a registry that really has the bytes proves it by one GET, and nothing is uploaded again', async () => {
  const reference = offerOpen('carol/app', 'honest', true);
  const before = await secretObject();
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(requestsFor(open), ['GET']);
  assert.deepEqual(receipt.blobs, { total: 4, present: 0, copied: 4, copiedElsewhere: 0 });
  assert.deepEqual(await secretObject(), before);
  assert.equal(await isLinked(reference), true);
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
  assert.equal(await isLinked(`${OPEN}/mallory/app:v1`), false, 'proof by one repository links that one alone');
});

test('a public blob is shared between registries without a request for it', async () => {
  for (const reference of [
    offerOpen('dave/app', 'sharing', false),
    bench.offer(noiseImage({ name: 'sharing too', sharedLayers: [secretLayer] }), 'alice/sharing'),
  ]) {
    open.requests.length = 0;
    const receipt = await bench.succeeds(reference);
    assert.equal(receipt.blobs.present, 1);
    assert.deepEqual([...requestsFor(open), ...requestsFor(bench.upstream)], []);
  }
});
