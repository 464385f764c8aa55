import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { multiArchImage, noiseImage, noiseLayer, type Image } from '../../support/images.ts';
import { loseContent } from '../../support/lost-content.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { when } from '../../support/upstream/upstream.ts';
import { refusalOf, startServeBench, type ServeBench, type Told } from './serve-bench.ts';

/** At the same time: as many as may wait. */
const CLIENTS = 20;
/** Of this one amd64 is filled whoever asks for what. */
const CONFIGURED = 'configured.example.test';

let bench: ServeBench;

before(async () => {
  bench = await startServeBench({
    registries: ({ origin }) => ({
      [CONFIGURED]: { endpoint: origin, credentials: 'none', platforms: ['linux/amd64', 'linux/s390x'] },
    }),
    serve: { waiting: CLIENTS },
  });
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
  bench.patienceMs = 20_000;
  bench.log.length = 0;
});

const layerOf = (image: Image, size: number): Digest =>
  [...image.blobs].find(([, { byteLength }]) => byteLength === size)![0];
const countOf = (kind: 'manifest' | 'blob', method: string, reference?: string): number =>
  bench.upstream.count({ kind, method, ...(reference === undefined ? {} : { reference }) });
const isPresent = async (digest: Digest): Promise<boolean> =>
  (await bench.services.catalog.findBlobs([digest], forever)).get(digest)?.state === 'present';

/** Half of the blob comes, the other half when the test calls what this returns. */
function hold(reference: Digest): () => void {
  const { promise: restAfter, resolve } = Promise.withResolvers<undefined>();
  bench.upstream.fault(when({ kind: 'blob', method: 'GET', reference }, { restAfter }));
  return () => resolve(undefined);
}

/** Everything of the image, as one client after the other would ask for it. */
async function pullsAll(base: string, image: Image, tag = 'v1'): Promise<void> {
  const root = await bench.get(`${base}/manifests/${tag}`);
  assert.equal(root.status, 200, root.body.toString());
  for (const [digest, { bytes }] of image.manifests) {
    const told = await bench.get(`${base}/manifests/${digest}`);
    assert.ok(told.body.equals(Buffer.from(bytes)), told.body.toString());
  }
  for (const [digest, bytes] of image.blobs) {
    const told = (await bench.follow(`${base}/blobs/${digest}`)).at(-1)!;
    assert.ok(told.body.equals(Buffer.from(bytes)), `${told.status} ${told.body.toString().slice(0, 200)}`);
  }
}

describe('what is not there yet', { concurrency: false }, () => {
  test('a cold image comes while it is asked for: one HEAD, one GET for each manifest and blob, then none', async () => {
    const image = multiArchImage({ name: 'cold' });
    const base = bench.offer(image, 'cold/app');
    await pullsAll(base, image);
    await bench.settled();
    const counts = (): number[] => [countOf('manifest', 'HEAD'), countOf('manifest', 'GET'), countOf('blob', 'GET')];
    assert.deepEqual(counts(), [1, image.manifests.size, image.blobs.size]);
    const validation = await bench.cache.validate('registry.example.test/cold/app:v1', { deep: true });
    assert.equal(validation.state, 'complete');
    await pullsAll(base, image);
    await bench.settled();
    assert.deepEqual(counts(), [1, image.manifests.size, image.blobs.size]);
  });

  test('a single image, and one asked for by digest alone', async () => {
    const single = noiseImage({ name: 'single' });
    await pullsAll(bench.offer(single, 'cold/single'), single);
    const digest = multiArchImage({ name: 'by digest' });
    await pullsAll(bench.offer(digest, 'cold/by-digest'), digest, digest.root.digest);
    await bench.settled();
    assert.equal(countOf('blob', 'GET'), digest.blobs.size);
    const reference = `registry.example.test/cold/by-digest@${digest.root.digest}`;
    assert.equal((await bench.cache.validate(reference)).state, 'complete');
  });

  test('a blob whose first request is for a range', async () => {
    for (const [repository, range, from, to] of [
      ['cold/first-bytes', 'bytes=0-9', 0, 10],
      ['cold/middle', 'bytes=100-', 100, undefined],
      ['cold/last-bytes', 'bytes=-7', -7, undefined],
    ] as const) {
      const image = noiseImage({ name: repository });
      const base = bench.offer(image, repository);
      const manifest = await bench.get(`${base}/manifests/v1`);
      assert.equal(manifest.status, 200);
      const [digest, bytes] = [...image.blobs].at(-1)!;
      const answer = (await bench.follow(`${base}/blobs/${digest}`, { range })).at(-1)!;
      assert.equal(answer.status, 206, range);
      assert.ok(answer.body.equals(Buffer.from(bytes).subarray(from, to)), range);
    }
    await bench.settled();
  });

  test('of an index only the child that is asked for is filled', async () => {
    const image = multiArchImage({ name: 'one child', sharedLayers: [] });
    const base = bench.offer(image, 'cold/one-child');
    await bench.get(`${base}/manifests/v1`);
    const child = image.children.get('linux/arm64')!;
    await bench.get(`${base}/manifests/${child.root.digest}`);
    await bench.settled();
    assert.deepEqual(
      bench.upstream.requests
        .filter(({ kind }) => kind === 'blob')
        .map(({ reference }) => reference)
        .sort(),
      [...child.blobs.keys()].sort(),
    );
    assert.equal(countOf('manifest', 'GET'), 2);
    const validation = await bench.cache.validate('registry.example.test/cold/one-child:v1', {
      platforms: ['linux/arm64'],
    });
    assert.equal(validation.state, 'complete', 'and the tag is published with it');
  });

  test('beside it the configured platforms, as far as the index has them', async () => {
    const image = multiArchImage({
      name: 'configured',
      platforms: ['linux/amd64', 'linux/arm64', 'linux/riscv64'],
      sharedLayers: [],
    });
    bench.offer(image, 'cold/configured');
    const base = `/v2/${CONFIGURED}/cold/configured`;
    await bench.get(`${base}/manifests/v1`);
    await bench.settled();
    const blobsOf = (platform: string): string[] => [...image.children.get(platform)!.blobs.keys()];
    const fetched = (): unknown[] =>
      bench.upstream.requests.filter(({ kind }) => kind === 'blob').map(({ reference }) => reference);
    assert.deepEqual(fetched().sort(), blobsOf('linux/amd64').sort());
    await bench.get(`${base}/manifests/${image.children.get('linux/arm64')!.root.digest}`);
    await bench.settled();
    assert.deepEqual(fetched().sort(), [...blobsOf('linux/amd64'), ...blobsOf('linux/arm64')].sort());
  });

  test('a client that asks for the child while the configured platforms are planned costs no second request', async () => {
    for (let i = 0; i < 3; i++) {
      const image = multiArchImage({ name: `at once ${i}` });
      bench.offer(image, `cold/at-once-${i}`);
      const base = `/v2/${CONFIGURED}/cold/at-once-${i}`;
      await bench.get(`${base}/manifests/v1`);
      const child = image.children.get('linux/amd64')!;
      await Promise.all(Array.from({ length: 5 }, () => bench.get(`${base}/manifests/${child.root.digest}`)));
      await bench.settled();
      assert.equal(countOf('manifest', 'GET', child.root.digest), 1);
    }
  });

  test('the fill goes on when the client leaves', async () => {
    const image = noiseImage({ name: 'leaves', layerBytes: [3_000] });
    const base = bench.offer(image, 'cold/leaves');
    const layer = layerOf(image, 3_000);
    const comes = hold(layer);
    await bench.get(`${base}/manifests/v1`);
    const leaving = new AbortController();
    const left = bench.ask(`${base}/blobs/${layer}`, { signal: leaving.signal });
    await until(() => countOf('blob', 'GET', layer) === 1);
    await sleep(50);
    leaving.abort();
    await assert.rejects(left);
    comes();
    await bench.settled();
    assert.ok(await isPresent(layer));
    assert.equal(countOf('blob', 'GET', layer), 1);
    await until(() => bench.log.some(({ fields }) => fields.left === true));
    assert.deepEqual(
      bench.log.filter(({ level }) => level === 'error'),
      [],
      'that is no fault of ours',
    );
  });

  test('a client that leaves while the registry is asked is no reason not to ask it for others', async () => {
    const image = noiseImage({ name: 'leaves early' });
    const base = bench.offer(image, 'cold/leaves-early');
    const allow = bench.upstream.fault(when({ method: 'HEAD' }, { delayMs: 10_000 }));
    const leaving = new AbortController();
    const left = bench.ask(`${base}/manifests/v1`, { signal: leaving.signal });
    await until(() => countOf('manifest', 'HEAD') === 1);
    leaving.abort();
    await assert.rejects(left);
    allow();
    await sleep(100);
    assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  });

  test('one of many who leaves takes nothing from the others', async () => {
    const image = noiseImage({ name: 'one leaves' });
    const base = bench.offer(image, 'cold/one-leaves');
    bench.upstream.fault(when({ method: 'HEAD' }, { delayMs: 400 }));
    const leaving = new AbortController();
    const first = bench.ask(`${base}/manifests/v1`, { signal: leaving.signal });
    const others = Promise.all(Array.from({ length: 5 }, () => bench.get(`${base}/manifests/v1`)));
    await until(() => countOf('manifest', 'HEAD') === 1);
    leaving.abort();
    await assert.rejects(first);
    assert.ok((await others).every(({ status }) => status === 200));
    assert.equal(countOf('manifest', 'HEAD'), 1);
  });
});

describe('the waiting room', { concurrency: false }, () => {
  const LAYER_BYTES = 100_000;
  /** An image whose layer comes when the test lets it; its manifest is there. */
  async function slowly(
    name: string,
  ): Promise<{ readonly path: string; readonly layer: Digest; readonly image: Image; readonly comes: () => void }> {
    const image = noiseImage({ name, layerBytes: [LAYER_BYTES] });
    const base = bench.offer(image, `slow/${name}`);
    const layer = layerOf(image, LAYER_BYTES);
    const comes = hold(layer);
    assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
    return { path: `${base}/blobs/${layer}`, layer, image, comes };
  }
  const hopOf = ({ status, headers }: Told): string => {
    assert.equal(status, 307);
    assert.equal(headers['cache-control'], 'no-store');
    const location = headers.location ?? '';
    assert.ok(location.startsWith('/v2/'), location);
    return location;
  };
  const countIn = (location: string): string => new URL(location, 'http://x').searchParams.get('hop')!.slice(0, 1);

  test('waits for a blob on its way, and leads to S3 as soon as it is there', async () => {
    const { path, layer, image, comes } = await slowly('waits');
    const following = bench.follow(path);
    await sleep(300);
    comes();
    const all = await following;
    assert.equal(all.length, 2, 'no hop');
    assert.ok(all[1]!.body.equals(Buffer.from(image.blobs.get(layer)!)));
    assert.equal(countOf('blob', 'GET', layer), 1);
  });

  test('HEAD does not wait: its size is known from the manifest', async () => {
    const { path, comes } = await slowly('head');
    const told = await bench.head(path);
    assert.deepEqual([told.status, told.headers['content-length']], [200, String(LAYER_BYTES)]);
    assert.ok(told.ms < 2_000);
    comes();
    await bench.settled();
  });

  test('what takes longer than one answer is a few hops, and many clients are one request', async () => {
    const { path, layer, comes } = await slowly('hops');
    bench.patienceMs = 500;
    const following = Promise.all(Array.from({ length: CLIENTS }, () => bench.follow(path)));
    await sleep(1_200);
    comes();
    const all = await following;
    for (const one of all) {
      assert.ok(one.length >= 3, 'at least one hop');
      const hops = one.slice(0, -2).map(hopOf).map(countIn);
      assert.deepEqual(
        hops,
        hops.map((_, i) => String(i + 1)),
      );
      assert.equal(one.at(-1)!.body.byteLength, LAYER_BYTES);
    }
    assert.equal(countOf('blob', 'GET', layer), 1);
  });

  test('at most 8 hops, then 429 and when to come back; a token that is old, or none, counts for nothing', async () => {
    const { path, comes } = await slowly('too-slow');
    bench.patienceMs = 300;
    const all = await bench.follow(path);
    const hops = all.slice(0, -1).map(hopOf);
    assert.deepEqual(hops.map(countIn), ['1', '2', '3', '4', '5', '6', '7', '8']);
    const last = all.at(-1)!;
    assert.equal(refusalOf(last), '429 BLOB_UNKNOWN');
    assert.match(String(last.headers['retry-after']), /^\d+$/);

    const eighth = new URLSearchParams(hops[7]!.replace(/^[^?]*\?/, '')).get('hop')!;
    assert.equal((await bench.get(`${path}?hop=${eighth}`)).status, 429);
    const none = [`8.${Date.now() - 1}`, `10.${Date.now() + 9_000}`, '8', 'x'.repeat(1_000), ''];
    const atOnce = none.map(async (forged) => {
      const told = await bench.get(`${path}?hop=${encodeURIComponent(forged)}`);
      assert.equal(countIn(hopOf(told)), '1', forged.slice(0, 30));
    });
    await Promise.all(atOnce);
    const namespaced = path.replace('/registry.example.test', '');
    const other = await bench.get(`${namespaced}?ns=registry.example.test`);
    assert.equal(countIn(hopOf(other)), '1');
    assert.match(other.headers.location!, /[?&]ns=registry\.example\.test(&|$)/, 'and the name space stays');
    comes();
    await bench.settled();
  });

  test('who finds it full is told at once, and those inside are served', async () => {
    const { path, comes } = await slowly('full');
    const inside = Array.from({ length: CLIENTS }, () => bench.follow(path));
    await sleep(500);
    const outside = await bench.get(path);
    assert.equal(outside.status, 429);
    assert.ok(outside.ms < 500, `${outside.ms} ms`);
    assert.match(String(outside.headers['retry-after']), /^\d+$/);
    comes();
    for (const all of await Promise.all(inside)) assert.equal(all.at(-1)!.status, 200);
    assert.equal((await bench.get(path)).status, 307, 'and there is room again');
  });

  test('a fill that fails: whoever waits is told why; the next request tries again, but for a minute not what no retry mends', async () => {
    const cases = [
      [404, '404 BLOB_UNKNOWN', true],
      [403, '403 DENIED', true],
      [500, '502 UNKNOWN', false],
    ] as const;
    const offered = cases.map(([status, ...rest]) => {
      const image = noiseImage({ name: `fails ${status}`, layerBytes: [5_000] });
      return { repository: `fails/f${status}`, base: bench.offer(image, `fails/f${status}`), image, status, rest };
    });
    const atOnce = offered.map(async ({ repository, base, image, status, rest: [refusal, isFinal] }) => {
      const layer = layerOf(image, 5_000);
      const repair = bench.upstream.fault(when({ kind: 'blob', reference: layer }, { status }));
      assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
      assert.equal(refusalOf(await bench.get(`${base}/blobs/${layer}`)), refusal);
      repair();
      await bench.settled();
      if (!isFinal) {
        assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, 5_000, String(status));
        return;
      }
      const asked = bench.upstream.count({ repository });
      const other = await bench.another();
      for (let i = 0; i < 3; i++) {
        assert.equal((await other.get(`${base}/manifests/v1`)).status, 200);
        assert.equal(refusalOf(await other.get(`${base}/blobs/${layer}`)), refusal);
      }
      assert.equal(bench.upstream.count({ repository }), asked);
    });
    await Promise.all(atOnce);
  });

  test('a blob that nobody has is not waited for', async () => {
    const image = noiseImage({ name: 'strange' });
    const base = await bench.warm(image, 'slow/strange');
    const told = await bench.get(`${base}/blobs/${noiseImage({ name: 'elsewhere' }).root.digest}`);
    assert.equal(refusalOf(told), '404 BLOB_UNKNOWN');
    assert.ok(told.ms < 1_000);
    assert.deepEqual(
      bench.upstream.requests.map(({ method, kind }) => `${method} ${kind}`),
      ['HEAD blob', 'GET blob'],
    );
  });
});

describe('what the store lost', { concurrency: false }, () => {
  test('a blob: as soon as that is known, the next request brings it again, and only it', async () => {
    const image = noiseImage({ name: 'lost', layerBytes: [7_000, 8_000] });
    const base = await bench.warm(image, 'lost/app');
    const layer = layerOf(image, 7_000);
    await bench.deleteObject(layer);
    // What an event of S3 says, or a deep validation.
    assert.equal(await loseContent(bench.services.pull, layer), true);
    const told = (await bench.follow(`${base}/blobs/${layer}`)).at(-1)!;
    assert.ok(told.body.equals(Buffer.from(image.blobs.get(layer)!)));
    await bench.settled();
    assert.deepEqual([countOf('blob', 'GET'), countOf('blob', 'GET', layer)], [1, 1]);
    assert.equal((await bench.cache.validate('registry.example.test/lost/app:v1', { deep: true })).state, 'complete');
  });

  test('a blob that nobody said is gone: the next try of a client brings it again', async () => {
    const image = noiseImage({ name: 'vanished', layerBytes: [7_100, 8_100] });
    const base = await bench.warm(image, 'lost/vanished');
    const layer = layerOf(image, 7_100);
    await bench.deleteObject(layer);
    assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.status, 404, 'the first try');
    const others = layerOf(image, 8_100);
    assert.equal((await bench.follow(`${base}/blobs/${others}`)).at(-1)!.status, 200, 'a neighbour is there');
    for (const again of ['HEAD', 'GET'])
      assert.ok((await bench.ask(`${base}/blobs/${layer}`, { method: again })).status < 400);
    const told = (await bench.follow(`${base}/blobs/${layer}`)).at(-1)!;
    assert.ok(told.body.equals(Buffer.from(image.blobs.get(layer)!)));
    await bench.settled();
    assert.deepEqual([countOf('blob', 'GET'), countOf('blob', 'GET', layer)], [1, 1]);
    assert.equal(
      (await bench.cache.validate('registry.example.test/lost/vanished:v1', { deep: true })).state,
      'complete',
    );
  });

  test('a blob that is there: however often clients come back, the store is asked once in a while', async () => {
    const image = noiseImage({ name: 'often', layerBytes: [7_200] });
    const base = await bench.warm(image, 'lost/often');
    const layer = layerOf(image, 7_200);
    const looks: string[] = [];
    const { pull } = bench.services;
    const find: typeof pull.store.find = (...of) => {
      looks.push(of[0]);
      return pull.store.find(...of);
    };
    const process = await bench.another({ ...bench.services, pull: { ...pull, store: { ...pull.store, find } } });
    assert.equal((await process.get(`${base}/blobs/${layer}`)).status, 307);
    assert.deepEqual(looks, [], 'the first time the row is believed');
    const told = await Promise.all(Array.from({ length: 30 }, () => process.get(`${base}/blobs/${layer}`)));
    assert.deepEqual([...new Set(told.map(({ status }) => status))], [307]);
    assert.ok(looks.length >= 1 && looks.length <= 3, `${looks.length} looks`);
    assert.equal(bench.upstream.requests.length, 0);
  });

  test('a blob that a late event calls lost, and that is there, stays', async () => {
    const image = noiseImage({ name: 'not lost' });
    await bench.warm(image, 'lost/not');
    const [digest] = [...image.blobs.keys()];
    assert.equal(await loseContent(bench.services.pull, digest!), false);
    assert.ok(await isPresent(digest!));
  });

  test('a manifest: found by the request itself, where no process remembers it', async () => {
    const image = multiArchImage({ name: 'lost manifests' });
    const base = await bench.warm(image, 'lost/manifests');
    for (const digest of image.manifests.keys()) await bench.deleteObject(digest);
    const process = await bench.another();
    for (const [digest, { bytes }] of image.manifests) {
      const told = await process.get(`${base}/manifests/${digest}`);
      assert.ok(told.body.equals(Buffer.from(bytes)), told.body.toString().slice(0, 300));
    }
    assert.equal((await process.get(`${base}/manifests/v1`)).status, 200);
    await process.settled();
    const validation = await bench.cache.validate('registry.example.test/lost/manifests:v1', { deep: true });
    assert.deepEqual(validation.missing, []);
  });

  test('a layer that another image shares is brought again by either', async () => {
    const shared = noiseLayer(9_000, 'shared and lost');
    const first = noiseImage({ name: 'first', sharedLayers: [shared] });
    const second = noiseImage({ name: 'second', sharedLayers: [shared] });
    await bench.warm(first, 'lost/first');
    const base = await bench.warm(second, 'lost/second');
    const layer = layerOf(second, 9_000);
    await bench.deleteObject(layer);
    await loseContent(bench.services.pull, layer);
    assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, 9_000);
    await bench.settled();
    assert.equal((await bench.cache.validate('registry.example.test/lost/second:v1')).state, 'complete');
  });
});
