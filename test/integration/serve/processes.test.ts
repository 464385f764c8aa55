import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { loseContent } from '../../support/lost-content.ts';
import { until } from '../../support/until.ts';
import { multiArchImage, noiseImage, noiseLayer, upstreamImage, type Image } from '../../support/images.ts';
import { itemsOf } from '../../support/table-rows.ts';
import { when } from '../../support/upstream/upstream.ts';
import { refusalOf, startServeBench, type ServeBench, type ServingProcess, type Told } from './serve-bench.ts';

/*
 * On Lambda each process has one caller, so what one remembers helps nobody else: everything here is asked through many.
 */

let bench: ServeBench;
before(async () => {
  bench = await startServeBench({
    serve: {
      freshness: [
        { repositories: ['**/moving/**'], ttlSeconds: 0 },
        { repositories: ['**/gone/**'], ttlSeconds: 0, notFoundSeconds: 60 },
      ],
    },
  });
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => bench.upstream.clearFaults());

const processes = (count: number): Promise<ServingProcess[]> =>
  Promise.all(Array.from({ length: count }, () => bench.another()));
const forever = new AbortController().signal;
const layerOf = (image: Image, bytes: number): Digest =>
  [...image.blobs].find(([, blob]) => blob.byteLength === bytes)![0];
const digestIn = (told: Told): unknown => {
  assert.equal(told.status, 200, told.body.toString());
  return told.headers['docker-content-digest'];
};
/** In a process of its own. */
const elsewhere = async (path: string): Promise<Told> => await (await bench.another()).get(path);

describe('many processes', { timeout: 300_000 }, () => {
  test('a cold manifest by digest is asked for once, however slow its registry is', async () => {
    const image = noiseImage({ name: 'slow by digest' });
    const base = bench.offer(image, 'team/slow');
    bench.upstream.fault(when({ kind: 'manifest', method: 'GET' }, { delayMs: 4_000 }));
    const all = await processes(6);
    const told = await Promise.all(all.map((one) => one.get(`${base}/manifests/${image.root.digest}`)));
    for (const one of told) assert.equal(digestIn(one), image.root.digest);
    assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET' }), 1);
    assert.ok(Math.max(...told.map(({ ms }) => ms)) < 10_000);
  });

  test('one that is there after a moment is waited for no longer', async () => {
    const image = noiseImage({ name: 'fast by digest' });
    const base = bench.offer(image, 'team/fast');
    bench.upstream.fault(when({ kind: 'manifest', method: 'GET' }, { delayMs: 300 }));
    const all = await processes(6);
    const told = await Promise.all(all.map((one) => one.get(`${base}/manifests/${image.root.digest}`)));
    for (const one of told) assert.equal(digestIn(one), image.root.digest);
    assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET' }), 1);
    assert.ok(Math.max(...told.map(({ ms }) => ms)) < 4_000);
  });
});

describe('a tag', { timeout: 300_000 }, () => {
  test('that was looked up, but whose manifest never came, is looked up again when that is gone', async () => {
    const [old, next] = [noiseImage({ name: 'never came' }), noiseImage({ name: 'came instead' })];
    const base = bench.offer(old, 'team/replaced');
    bench.upstream.fault(when({ kind: 'manifest', method: 'GET' }, { status: 503 }));
    assert.equal(refusalOf(await bench.get(`${base}/manifests/v1`)), '502 UNKNOWN');
    bench.upstream.clearFaults();
    bench.upstream.fault(when({ reference: old.root.digest }, { status: 404 }));
    bench.upstream.addImage('team/replaced', upstreamImage(next, 'v1'));
    assert.equal(digestIn(await elsewhere(`${base}/manifests/v1`)), next.root.digest);
  });

  test('that means what another one means is published as well, and so has what it falls back to', async () => {
    const [old, next] = [noiseImage({ name: 'two names' }), noiseImage({ name: 'moved on' })];
    const base = await bench.warm(old, 'moving/app', 'v1');
    bench.upstream.addImage('moving/app', upstreamImage(old, 'v1', 'latest'));
    assert.equal(digestIn(await bench.get(`${base}/manifests/latest`)), old.root.digest);
    await bench.settled();
    assert.equal(bench.upstream.count({ kind: 'blob' }), 0);

    bench.upstream.addImage('moving/app', upstreamImage(next, 'latest'));
    bench.upstream.fault(when({ kind: 'blob' }, { status: 503 }));
    assert.equal(digestIn(await bench.get(`${base}/manifests/latest`)), next.root.digest);
    await bench.settled();
    bench.upstream.fault(when({}, { reset: true }));
    const stale = await elsewhere(`${base}/manifests/latest`);
    assert.equal(digestIn(stale), old.root.digest);
    assert.match(stale.headers.warning ?? '', /^111 /);
  });

  test('that is gone is what has landed, with a warning, for whoever asks and however often', async () => {
    const [old, next] = [noiseImage({ name: 'gone, old' }), noiseImage({ name: 'gone, new' })];
    const base = await bench.warm(old, 'gone/app', 'v1');
    bench.upstream.addImage('gone/app', upstreamImage(next, 'v1'));
    bench.upstream.fault(when({ kind: 'blob' }, { status: 404 }));
    assert.equal(digestIn(await bench.get(`${base}/manifests/v1`)), next.root.digest);
    await bench.settled();
    bench.upstream.fault(when({ kind: 'manifest' }, { status: 404 }));
    for (let i = 0; i < 3; i++) {
      const told = await elsewhere(`${base}/manifests/v1`);
      assert.equal(digestIn(told), old.root.digest);
      assert.match(told.headers.warning ?? '', /^110 /);
    }
  });

  for (const [what, fault] of Object.entries({
    'a redirect to a private address': { status: 307, headers: { location: 'https://10.0.0.1/' } },
    'a page instead of a manifest': { status: 418 },
  })) {
    test(`whose registry answers with ${what} is what has landed`, async () => {
      const image = noiseImage({ name: what });
      const base = await bench.warm(image, `moving/${what.replaceAll(' ', '-')}`, 'v1');
      bench.upstream.fault(when({ kind: 'manifest' }, fault));
      const told = await elsewhere(`${base}/manifests/v1`);
      assert.equal(digestIn(told), image.root.digest);
      assert.match(told.headers.warning ?? '', /^111 /);
    });
  }
});

test('a blob is no manifest, although the repository has it', async () => {
  const image = multiArchImage({ name: 'no manifest' });
  const base = await bench.warm(image, 'team/blobs');
  for (const digest of image.blobs.keys()) {
    assert.equal(refusalOf(await elsewhere(`${base}/manifests/${digest}`)), '404 MANIFEST_UNKNOWN');
  }
});

test('a manifest that makes no sense is no manifest, and nothing to try again', async () => {
  const base = `/v2/registry.example.test/team/broken`;
  bench.upstream.putManifest('team/broken', 'v1', Buffer.from('{"schemaVersion":2,"layers":5}'), OCI_MANIFEST);
  assert.equal(refusalOf(await bench.get(`${base}/manifests/v1`)), '422 MANIFEST_INVALID');
});

test('rows of names that mean nothing, and of locks that nobody holds, expire', async () => {
  bench.offer(noiseImage({ name: 'rows' }), 'team/rows');
  for (let i = 0; i < 5; i++) {
    assert.equal((await bench.get(`/v2/registry.example.test/team/rows/manifests/made-up-${i}`)).status, 404);
  }
  const rows = await itemsOf(bench.stack);
  const madeUp = rows.filter(({ pk, sk }) => `${pk} ${sk}`.includes('made-up'));
  assert.equal(madeUp.length, 10);
  const inDays = (row: Record<string, unknown>): number => (Number(row.expiresSeconds) - Date.now() / 1000) / 86_400;
  for (const row of madeUp) assert.ok(inDays(row) > 0.9 && inDays(row) < 1.1, JSON.stringify(row));
  // A name that means something has no end, also where it did not for a while.
  const base = bench.offer(noiseImage({ name: 'rows' }), 'team/rows', 'made-up-0');
  assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  const tags = (await itemsOf(bench.stack)).filter(({ pk, sk }) => /^TAG#.*team\/rows$/.test(pk) && sk === 'v1');
  assert.deepEqual(
    tags.map(({ expiresSeconds }) => expiresSeconds),
    [undefined],
  );
});

describe('a blob that is waited for', { timeout: 300_000 }, () => {
  test('comes by whichever manifest that needs it can be pulled', async () => {
    const sharedLayers = [noiseLayer(200_000, 'shared')];
    const broken = noiseImage({ name: 'broken', sharedLayers, layerBytes: [300] });
    const good = noiseImage({ name: 'good', sharedLayers, layerBytes: [300] });
    const base = bench.offer(broken, 'team/shared', 'broken');
    bench.upstream.addImage('team/shared', upstreamImage(good, 'good'));
    const [layer, lost] = [layerOf(broken, 200_000), layerOf(broken, 300)];
    // Which ends a pull at once; a layer that is not there would let the others come.
    bench.upstream.fault(when({ reference: lost }, { status: 403 }));
    const { promise: restAfter, resolve: come } = Promise.withResolvers<undefined>();
    bench.upstream.fault(when({ reference: layer }, { restAfter }));
    assert.equal((await bench.get(`${base}/manifests/broken`)).status, 200);
    const request = {
      ...{ platforms: [], alwaysPull: false, attestations: true, resolvedSinceMs: 0 },
      reference: parseReference('registry.example.test/team/shared:broken'),
    };
    await until(async () => (await bench.services.records.findFailed(request, forever)) !== undefined);
    assert.equal((await bench.get(`${base}/manifests/good`)).status, 200);
    come(undefined);
    for (const one of await processes(4)) {
      assert.equal((await one.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, 200_000);
    }
  });

  test('is brought again after it was found to be lost', async () => {
    const image = noiseImage({ name: 'half lost', layerBytes: [4_000] });
    const base = await bench.warm(image, 'team/half-lost');
    const layer = layerOf(image, 4_000);
    await bench.deleteObject(layer);
    assert.equal(await loseContent(bench.services.pull, layer), true);
    const told = await (await bench.another()).follow(`${base}/blobs/${layer}`);
    assert.equal(told.at(-1)!.body.byteLength, 4_000);
    assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET', reference: layer }), 1);
  });
});
