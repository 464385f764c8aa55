import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { openCache, startBench, type Bench, type TestCache } from '../support/cache.ts';
import { multiArchImage, noiseImage, noiseLayer, upstreamImage } from '../support/images.ts';
import { checkContent, checkPublished, openUploads } from '../support/invariants.ts';
import { startPullingProcess, type PullingProcess } from '../support/pulling-process.ts';
import { startUpstream, type TestUpstream } from '../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';
const PROCESSES = 4;

let bench: Bench;
let upstream: TestUpstream;
let cache: TestCache;
let processes: PullingProcess[];

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', public: true } };
  cache = await bench.use(
    openCache(bench.stack, { registries, limits: { leaseSeconds: 5, partBytes: 5 * 1024 * 1024 } }),
  );
  processes = await Promise.all(Array.from({ length: PROCESSES }, () => startPullingProcess(cache.environment)));
  for (const process of processes) await bench.use(process);
});
after(() => bench[Symbol.asyncDispose]());

async function pullEverywhere(references: readonly string[], times: number): Promise<Receipt[]> {
  const answers = await Promise.all(
    processes.map((process, i) => process.pull({ reference: references[i % references.length]!, times })),
  );
  return answers.flat().map((answer) => {
    assert.equal(answer.error, undefined);
    return answer;
  });
}

test('52 pulls of one image in four processes ask the registry once', { timeout: 300_000 }, async () => {
  const image = multiArchImage({ name: 'crowd', layerBytes: [1_000, 6_000_000] });
  upstream.addImage('crowd', upstreamImage(image, 'v1'));
  const reference = `${REGISTRY}/crowd:v1`;
  const receipts = await pullEverywhere([reference], 13);
  assert.equal(receipts.length, 52);
  assert.equal(receipts.filter((receipt) => receipt.outcome === 'pulled').length, 1);
  assert.equal(receipts.filter((receipt) => receipt.outcome === 'hit').length, 51);
  assert.equal(upstream.count({ kind: 'manifest', method: 'HEAD' }), 1);
  for (const digest of image.manifests.keys())
    assert.equal(upstream.count({ kind: 'manifest', method: 'GET', reference: digest }), 1);
  for (const digest of image.blobs.keys()) assert.equal(upstream.count({ kind: 'blob', reference: digest }), 1);
  const content = await checkContent(bench.stack, [...image.blobs.keys(), ...image.manifests.keys()]);
  assert.ok(await checkPublished(cache.services, reference, content));
  assert.deepEqual(await openUploads(bench.stack), []);
});

test(
  'different images that share layers, pulled at the same time by different processes, fetch each shared blob once',
  { timeout: 300_000 },
  async () => {
    upstream.requests.length = 0;
    const sharedLayers = [
      noiseLayer(7_000_000, 'shared/a'),
      noiseLayer(200_000, 'shared/b'),
      noiseLayer(3_000, 'shared/c'),
    ];
    const images = Array.from({ length: PROCESSES }, (_, i) => noiseImage({ name: `sharer-${i}`, sharedLayers }));
    images.forEach((image, i) => upstream.addImage(`sharer-${i}`, upstreamImage(image, 'v1')));
    const receipts = await pullEverywhere(
      images.map((_, i) => `${REGISTRY}/sharer-${i}:v1`),
      2,
    );
    for (const digest of new Set(images.flatMap((image) => [...image.blobs.keys()]))) {
      assert.equal(upstream.count({ kind: 'blob', method: 'GET', reference: digest }), 1, digest);
    }
    const pulled = receipts.filter((receipt) => receipt.outcome === 'pulled');
    assert.equal(pulled.length, PROCESSES);
    for (const { blobs, bytes } of pulled) {
      assert.equal(blobs.present + blobs.copied + blobs.copiedElsewhere, blobs.total);
      assert.equal(bytes.present + bytes.copied + bytes.copiedElsewhere, bytes.total);
    }
    const fetched = pulled.reduce((sum, receipt) => sum + receipt.blobs.copied, 0);
    assert.equal(
      fetched,
      upstream.count({ kind: 'blob', method: 'GET' }),
      'every fetched blob is in one receipt as copied',
    );
    for (let i = 0; i < PROCESSES; i++)
      assert.equal((await cache.validate(`${REGISTRY}/sharer-${i}:v1`, { deep: true })).state, 'complete');
  },
);
