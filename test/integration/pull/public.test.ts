import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { TrustDomain } from '../../../lib/reference/trust-domain.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import { noiseImage, noiseLayer, upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY as INTERNAL, startPullBench, type PullBench } from './pull-bench.ts';

/** Registries that ask for no login. */
const OTHER = 'other.example.test';
const PUBLIC_ONE = 'public.example.test';
const MIRRORED = 'mirrored.example.test';
const SECRET_BYTES = 5_000;

let other: TestUpstream;
let mirror: TestUpstream;
let bench: PullBench;
let secrets = 0;

before(async () => {
  [other, mirror] = await Promise.all([startUpstream(), startUpstream()]);
  const registry = { endpoint: other.origin, credentials: 'none' };
  bench = await startPullBench({
    registry: { public: false },
    registries: {
      [OTHER]: registry,
      [PUBLIC_ONE]: { ...registry, public: true },
      [MIRRORED]: { ...registry, public: true, mirrors: [mirror.origin] },
    },
  });
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await Promise.all([other.close(), mirror.close()]);
});
beforeEach(() => {
  other.requests.length = 0;
  mirror.requests.length = 0;
});

interface Secret {
  readonly bytes: ReturnType<typeof noiseLayer>;
  readonly digest: Digest;
}

const digestIn = (image: Image): Digest => [...image.blobs].find(([, bytes]) => bytes.byteLength === SECRET_BYTES)![0];

function newSecret(): Secret {
  const bytes = noiseLayer(SECRET_BYTES, `secret ${secrets++}`);
  return { bytes, digest: digestIn(noiseImage({ name: 'of it', sharedLayers: [bytes] })) };
}

/** An image with the layer at the registry; `lacks`: the registry names it alone. */
function offerAt(registry: string, repository: string, secret: Secret, lacks = false): string {
  const image = noiseImage({ name: `${registry}/${repository}`, sharedLayers: [secret.bytes] });
  if (registry === INTERNAL) return bench.offer(image, repository);
  other.addImage(repository, upstreamImage(image, 'v1'));
  if (lacks) other.deleteBlob(repository, secret.digest);
  return `${registry}/${repository}:v1`;
}

const rowOf = async ({ digest }: Secret) =>
  (await bench.cache.services.catalog.findBlobs([digest], AbortSignal.timeout(5_000))).get(digest)!;
const metadataOf = async ({ digest }: Secret): Promise<string | undefined> =>
  (await bench.s3.send(new HeadObjectCommand({ Bucket: bench.stack.bucket, Key: blobObjectKey(digest) }))).Metadata
    ?.domain;

async function assertKept(secret: Secret, registry: string, repository: string): Promise<void> {
  const reference = offerAt(registry, repository, secret, true);
  await bench.fails(reference, { name: 'BlobUnknownError', code: 'BLOB_UNKNOWN' });
  const links = await bench.cache.services.catalog.findLinks(
    parseReference(reference).repository,
    [secret.digest],
    AbortSignal.timeout(5_000),
  );
  assert.equal(links.size, 0);
}

test('content of a registry without login is not given to another one that only names it (I9)', async () => {
  const secret = newSecret();
  await bench.succeeds(offerAt(INTERNAL, 'hr/payroll', secret));
  const domains = [...(await rowOf(secret)).domains];
  assert.match(domains.join(), /^registry\.example\.test#anonymous-[0-9a-f]{16}$/);
  assert.equal(await metadataOf(secret), domains[0]);
  await assertKept(secret, OTHER, 'mallory/other');
  await assertKept(secret, PUBLIC_ONE, 'mallory/public');
  await assertKept(secret, MIRRORED, 'mallory/mirrored');
});

test('another repository of it confirms by HEAD, or fetches; another registry proves it by one GET', async () => {
  const secret = newSecret();
  await bench.succeeds(offerAt(INTERNAL, 'base/one', secret));
  const requestsFor = (upstream: TestUpstream): string[] =>
    upstream.requests.filter(({ reference }) => reference === secret.digest).map(({ method }) => method);
  await bench.succeeds(offerAt(INTERNAL, 'base/two', secret));
  assert.deepEqual(requestsFor(bench.upstream), ['HEAD']);
  const lacking = offerAt(INTERNAL, 'base/none', secret);
  bench.upstream.deleteBlob('base/none', secret.digest);
  await bench.fails(lacking, { name: 'BlobUnknownError' });
  await bench.succeeds(offerAt(OTHER, 'honest/app', secret));
  assert.deepEqual(requestsFor(other), ['GET']);
  assert.equal((await rowOf(secret)).domains.size, 2);
});

test('what a public registry gave is for all, what its mirror gave is not', async () => {
  const shared = newSecret();
  await bench.succeeds(offerAt(PUBLIC_ONE, 'library/base', shared));
  assert.deepEqual([...(await rowOf(shared)).domains], ['internet']);
  assert.equal((await bench.succeeds(offerAt(INTERNAL, 'team/shares', shared))).blobs.present, 1);

  const secret = newSecret();
  const reference = offerAt(MIRRORED, 'library/mirrored', secret, true);
  mirror.addImage(
    'library/mirrored',
    upstreamImage(noiseImage({ name: `${MIRRORED}/library/mirrored`, sharedLayers: [secret.bytes] }), 'v1'),
  );
  await bench.succeeds(reference);
  assert.equal(mirror.count({ reference: secret.digest }), 1);
  assert.match([...(await rowOf(secret)).domains].join(), /^mirrored\.example\.test#anonymous-/);
  await assertKept(secret, PUBLIC_ONE, 'mallory/of-mirror');
  await assertKept(secret, MIRRORED, 'mallory/of-mirror-too');
});

test('what was recorded as public before is not believed: not of rows, and not of objects', async () => {
  const secret = newSecret();
  await bench.succeeds(offerAt(INTERNAL, 'old/row', secret));
  const { catalog } = bench.cache.services;
  const { size = 0, etag = '', commit } = await rowOf(secret);
  const old = { content: { digest: secret.digest, size, mediaType: '' }, stored: { size, etag }, commit };
  assert.ok(await catalog.recordBlob({ ...old, domains: ['public' as TrustDomain] }, AbortSignal.timeout(5_000)));
  await assertKept(secret, OTHER, 'mallory/old-row');
  await assertKept(secret, PUBLIC_ONE, 'mallory/old-row-too');

  for (const domain of ['public', undefined, 'internet ', 'nonsense']) {
    const object = newSecret();
    const image = noiseImage({ name: 'put', sharedLayers: [object.bytes] });
    const Metadata = domain === undefined ? {} : { domain };
    const Body = image.blobs.get(object.digest)!;
    await bench.s3.send(
      new PutObjectCommand({ Bucket: bench.stack.bucket, Key: blobObjectKey(object.digest), Body, Metadata }),
    );
    const repository = `mallory/object-${String(domain).trim()}`;
    await bench.fails(offerAt(PUBLIC_ONE, repository, object, true), { name: 'BlobUnknownError' });
  }
});
