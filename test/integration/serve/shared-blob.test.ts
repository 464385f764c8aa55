import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import type { Use } from '../../../lib/catalog/catalog.ts';
import { parseDigest, type Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { loseContent } from '../../../lib/validate/lose-content.ts';
import { openCache } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { noiseImage, noiseLayer, type Image } from '../../support/images.ts';
import { forever, operationsOf } from '../../support/table-under-test.ts';
import { refusalOf, REGISTRY, startServeBench, type ServeBench, type ServingProcess } from './serve-bench.ts';

/** Images elsewhere that have the blob, too: more than a search looks through. */
const USERS = 2_100;
const SHARED_BYTES = 1_234;

let bench: ServeBench;
/** A process whose requests to DynamoDB are counted. */
let counted: ServingProcess;
let proxy: FaultProxy;
const shared = noiseLayer(SHARED_BYTES, 'the layer that everybody has');

before(async () => {
  bench = await startServeBench();
  proxy = await bench.use(startFaultProxy(bench.stack.dynamoEndpoint));
  const registries = { [REGISTRY]: { endpoint: bench.upstream.origin, credentials: 'none' } };
  const cache = await bench.use(openCache(bench.stack, { registries, dynamoEndpoint: proxy.endpoint }));
  counted = await bench.another(cache.services);
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.clearFaults();
  proxy.log.length = 0;
});

const layerOf = (image: Image): Digest =>
  [...image.blobs].find(([, { byteLength }]) => byteLength === SHARED_BYTES)![0];
const someDigest = (): Digest => parseDigest(`sha256:${randomBytes(32).toString('hex')}`);
const countOf = (operation: string): number => operationsOf(proxy).filter((one) => one === operation).length;

/** So many others need the digest. */
async function usedElsewhere(digest: Digest, users: number): Promise<void> {
  const uses = Array.from({ length: users }, (): Use => {
    const root = someDigest();
    return { digest, root, child: root };
  });
  await bench.services.catalog.writeUses(uses, forever);
}

test(`a blob that ${USERS} others have: manifest, then blob, and nobody's use of it is read`, async () => {
  const image = noiseImage({ name: 'shares', sharedLayers: [shared] });
  const layer = layerOf(image);
  await usedElsewhere(layer, USERS);
  const base = bench.offer(image, 'shared/app');
  assert.equal((await counted.get(`${base}/manifests/v1`)).status, 200);
  const head = await counted.head(`${base}/blobs/${layer}`);
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(SHARED_BYTES)]);
  const told = (await counted.follow(`${base}/blobs/${layer}`)).at(-1)!;
  assert.equal(told.body.byteLength, SHARED_BYTES);
  await counted.settled();
  assert.equal(countOf('Query'), 1, 'whether an index leads to the manifest: nobody else has that');
});

test('the same when the store lost it: the image that was pulled knows that it needs it', async () => {
  const image = noiseImage({ name: 'lost', sharedLayers: [shared] });
  const base = await bench.warm(image, 'shared/pulled');
  const layer = layerOf(image);
  await bench.deleteObject(layer);
  assert.equal(await loseContent(bench.services.pull, layer, forever), true);
  proxy.log.length = 0;
  assert.equal((await counted.head(`${base}/blobs/${layer}`)).headers['content-length'], String(SHARED_BYTES));
  assert.equal(countOf('Query'), 0);
  assert.equal((await counted.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, SHARED_BYTES);
  await counted.settled();
});

test('a repository where nothing names it: 404 after a bounded search', async () => {
  const base = await bench.warm(noiseImage({ name: 'does not share' }), 'shared/not');
  const layer = layerOf(noiseImage({ name: 'shares', sharedLayers: [shared] }));
  for (const method of ['GET', 'HEAD']) {
    proxy.log.length = 0;
    const told = await counted.ask(`${base}/blobs/${layer}`, { method });
    assert.equal(told.status, 404);
    if (method === 'GET') {
      assert.equal(refusalOf(told), '404 BLOB_UNKNOWN');
      assert.match(told.body.toString(), /ask for the manifest first/);
    }
    assert.equal(countOf('Query'), 20);
    // One for the blob itself, one for the rows of the repository.
    assert.equal(countOf('BatchGetItem'), 20 + 2);
  }
  const unknown = noiseImage({ name: 'nobody has it' }).root.digest;
  proxy.log.length = 0;
  assert.equal((await counted.get(`${base}/blobs/${unknown}`)).status, 404);
  assert.deepEqual(operationsOf(proxy), ['BatchGetItem', 'BatchGetItem', 'Query']);
});

test('rows of an older version: the first page that gives a manifest of the repository ends the search', async () => {
  const image = noiseImage({ name: 'older', sharedLayers: [noiseLayer(SHARED_BYTES, 'of an older version')] });
  const layer = layerOf(image);
  const manifest = image.root;
  const { catalog, store } = bench.services.pull;
  const { repository } = parseReference(`${REGISTRY}/shared/older:v1`);
  const bytes = image.manifests.get(manifest.digest)!.bytes;
  const stored = await store.put(manifest, bytes, PUBLIC, forever);
  await catalog.recordBlob(manifest, stored, [PUBLIC], forever);
  await catalog.linkEarly(repository, manifest, forever);
  await catalog.writeUses([{ digest: layer, root: manifest.digest, child: manifest.digest }], forever);
  await usedElsewhere(layer, 499);
  const uses = await catalog.findUses(layer, forever);
  const page = Math.floor(uses.findIndex(({ root }) => root === manifest.digest) / 100) + 1;
  const head = await counted.head(`/v2/${REGISTRY}/shared/older/blobs/${layer}`);
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(SHARED_BYTES)]);
  assert.equal(countOf('Query'), page);
});
