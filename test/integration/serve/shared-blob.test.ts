import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { openCache } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { noiseImage, noiseLayer, type Image } from '../../support/images.ts';
import { loseContent } from '../../support/lost-content.ts';
import { operationsOf } from '../../support/table-under-test.ts';
import { refusalOf, REGISTRY, startServeBench, type ServeBench, type ServingProcess } from './serve-bench.ts';

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
const countOf = (operation: string): number => operationsOf(proxy).filter((one) => one === operation).length;

test('a blob that other repositories have, too: manifest, then blob, by the rows of this one alone', async () => {
  const image = noiseImage({ name: 'shares', sharedLayers: [shared] });
  const layer = layerOf(image);
  const base = bench.offer(image, 'shared/app');
  assert.equal((await counted.get(`${base}/manifests/v1`)).status, 200);
  const head = await counted.head(`${base}/blobs/${layer}`);
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(SHARED_BYTES)]);
  const told = (await counted.follow(`${base}/blobs/${layer}`)).at(-1)!;
  assert.equal(told.body.byteLength, SHARED_BYTES);
  await counted.settled();
  assert.equal(countOf('Query'), 0);
});

test('the same when the store lost it: the image that was pulled knows that it needs it', async () => {
  const image = noiseImage({ name: 'lost', sharedLayers: [shared] });
  const base = await bench.warm(image, 'shared/pulled');
  const layer = layerOf(image);
  await bench.deleteObject(layer);
  assert.equal(await loseContent(bench.services.pull, layer), true);
  proxy.log.length = 0;
  assert.equal((await counted.head(`${base}/blobs/${layer}`)).headers['content-length'], String(SHARED_BYTES));
  assert.equal(countOf('Query'), 0);
  assert.equal((await counted.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, SHARED_BYTES);
  await counted.settled();
});

test('a repository where nothing names it, and whose registry has it not: 404 after two reads', async () => {
  const base = await bench.warm(noiseImage({ name: 'does not share' }), 'shared/not');
  const layer = layerOf(noiseImage({ name: 'shares', sharedLayers: [shared] }));
  for (const method of ['GET', 'HEAD']) {
    proxy.log.length = 0;
    const told = await counted.ask(`${base}/blobs/${layer}`, { method });
    assert.equal(told.status, 404);
    if (method === 'GET') {
      assert.equal(refusalOf(told), '404 BLOB_UNKNOWN');
      assert.match(told.body.toString(), /its registry has no such blob/);
    }
    // One for the blob itself, one for the rows of the repository.
    assert.deepEqual(operationsOf(proxy), ['BatchGetItem', 'BatchGetItem']);
  }
  const unknown = noiseImage({ name: 'nobody has it' }).root.digest;
  proxy.log.length = 0;
  assert.equal((await counted.get(`${base}/blobs/${unknown}`)).status, 404);
  assert.deepEqual(operationsOf(proxy), ['BatchGetItem', 'BatchGetItem']);
});
