import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { multiArchImage, type Image } from '../../support/images.ts';
import { startServeBench, type ServeBench, type ServingProcess, type Told } from './serve-bench.ts';

const CLIENTS = 30;
/** An answer later than this is one that a container runtime may not wait for. */
const LATEST_MS = 25_000;
const PLATFORMS = ['linux/amd64', 'linux/arm64'];

let bench: ServeBench;
before(async () => {
  // Five blobs each: all of them may wait at once.
  bench = await startServeBench({ serve: { waiting: 5 * CLIENTS } });
});
after(() => bench[Symbol.asyncDispose]());

interface Descriptor {
  readonly digest: Digest;
}
interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** What a container runtime does: index by tag, manifest of its platform by digest, config and layers side by side. Every answer that it got. */
async function pullLikeARuntime(from: ServingProcess, base: string, image: Image, child: Image): Promise<Told[]> {
  const index = await from.get(`${base}/manifests/v1`);
  assert.equal(index.status, 200, index.body.toString());
  assert.equal(index.headers['docker-content-digest'], image.root.digest);
  const manifest = await from.get(`${base}/manifests/${child.root.digest}`);
  assert.equal(manifest.status, 200, manifest.body.toString());
  const { config, layers } = JSON.parse(manifest.body.toString()) as Manifest;
  const told = [index, manifest];
  const blobs = [config, ...layers].map(async ({ digest }) => {
    const all = await from.follow(`${base}/blobs/${digest}`);
    const last = all.at(-1)!;
    assert.equal(last.status, 200, last.body.toString().slice(0, 300));
    assert.ok(last.body.equals(Buffer.from(image.blobs.get(digest)!)));
    return all;
  });
  return [...told, ...(await Promise.all(blobs)).flat()];
}

/** One HEAD for the tag, one GET for each manifest and blob. */
function assertAskedOnce(image: Image): void {
  for (const digest of image.manifests.keys()) {
    assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET', reference: digest }), 1, `GET ${digest}`);
    assert.ok(bench.upstream.count({ kind: 'manifest', method: 'HEAD', reference: digest }) <= 1);
  }
  assert.equal(bench.upstream.count({ kind: 'manifest', method: 'HEAD', reference: 'v1' }), 1);
  assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET', reference: 'v1' }), 0);
  for (const digest of image.blobs.keys()) {
    assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET', reference: digest }), 1, `GET ${digest}`);
  }
}

test(`${CLIENTS} clients at once on a cold image of two platforms: one request each, and every client has it`, async (context) => {
  const image = multiArchImage({ name: 'stampede', layerBytes: [30_000, 20_000, 1_000] });
  const base = bench.offer(image, 'team/app');
  // As far away as a registry is.
  bench.upstream.fault(() => ({ delayMs: 100 }));
  const startedMs = performance.now();
  const told = await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) =>
      pullLikeARuntime(bench, base, image, image.children.get(PLATFORMS[i % PLATFORMS.length]!)!),
    ),
  );
  const tookMs = performance.now() - startedMs;
  await bench.settled();

  assertAskedOnce(image);
  const all = told.flat();
  const latest = Math.max(...all.map(({ ms }) => ms));
  assert.ok(latest < LATEST_MS, `${latest} ms`);
  assert.deepEqual(
    bench.log.filter(({ level }) => level !== 'info'),
    [],
  );
  context.diagnostic(
    `${all.length} answers to ${CLIENTS} clients in ${Math.round(tookMs)} ms, the latest after ${Math.round(latest)} ms; ` +
      `${bench.upstream.requests.length} requests of the registry for ${image.manifests.size} manifests and ${image.blobs.size} blobs`,
  );

  // Warm: the same once more, and nobody is asked.
  bench.upstream.requests.length = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, () => pullLikeARuntime(bench, base, image, image.children.get(PLATFORMS[0]!)!)),
  );
  assert.equal(bench.upstream.requests.length, 0);
});

test('three processes, as many as there are Lambdas: still one request each', async () => {
  const image = multiArchImage({ name: 'processes', layerBytes: [5_000] });
  const base = bench.offer(image, 'team/processes');
  const processes = [bench, await bench.another(), await bench.another()];
  await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) => {
      const child = image.children.get(PLATFORMS[i % PLATFORMS.length]!)!;
      return pullLikeARuntime(processes[i % processes.length]!, base, image, child);
    }),
  );
  for (const process of processes) await process.settled();
  assertAskedOnce(image);
});
