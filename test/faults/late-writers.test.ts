import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Digest } from '../../lib/oci/digest.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { Upstream } from '../../lib/registry/upstream.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { privateDomain } from '../../lib/reference/trust-domain.ts';
import { multiArchImage, noiseImage, type Image } from '../support/images.ts';
import { checkContent, checkPublished } from '../support/invariants.ts';
import { forever, operationsOf } from '../support/table-under-test.ts';
import { startFaultBench, type FaultBench, type FaultyCache } from './fault-bench.ts';
import { deleteObject, putBack, reportLost, stateOf, stopped } from './project.ts';

/*
 * Writers that are late: what they say of the store was true when they looked, and is not any more. Each write of a row holds only on the commit that was read before the
 * store was asked (decision 0031).
 */

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
afterEach(() => faults.upstream.clearFaults());
after(() => faults[Symbol.asyncDispose]());

/** No lease lapses while a busy machine takes its time. */
const UNHURRIED = { leaseSeconds: 30 };
const layerOf = (image: Image): Digest => [...image.blobs.keys()].at(-1)!;
const request = (reference: string) => ({
  ...{ reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true },
});

/** All that is published is there, and all rows say so. */
async function assertWhole({ cache }: FaultyCache, image: Image, reference: string): Promise<void> {
  const digests = [...image.blobs.keys(), ...image.manifests.keys()];
  const content = await checkContent(faults.bench.stack, digests);
  assert.ok(await checkPublished(cache.services, reference, content));
  assert.equal((await cache.validate(reference, { deep: true })).state, 'complete');
}

describe('a deletion between the 200 of a PUT and the write of its row', () => {
  for (const [part, write] of [
    ['layer', 'commitBlob'],
    ['manifest', 'recordBlob'],
  ] as const) {
    for (const isReported of [true, false]) {
      test(`of a ${part}, ${isReported ? 'reported at once' : 'reported after the row was written'}: it comes again`, async () => {
        await using faulty = await faults.open(UNHURRIED);
        const { services } = faulty.cache;
        const image = noiseImage({ name: `between-${part}-${String(isReported)}`, layerBytes: [1_000] });
        const reference = faults.offer(image, `between/${part}-${String(isReported)}`);
        const digest = part === 'layer' ? layerOf(image) : image.root.digest;
        const late = stopped(services.catalog, write, 'before');
        const pulling = pull({ ...services.pull, catalog: late.target }, request(reference), forever);
        await Promise.race([late.reached, pulling]);
        // Whichever content came first: all that is in the store by now goes.
        const there = await checkContent(faults.bench.stack, [...image.blobs.keys(), digest]);
        for (const one of there.keys()) await deleteObject(faults.bench.stack, one);
        // What the pull itself missed meanwhile, and brought again, is there.
        const reportAll = async () => {
          for (const one of there.keys()) await reportLost(services, one);
        };
        if (isReported) await reportAll();
        late.goOn();
        await pulling;
        if (!isReported) await reportAll();
        await faulty.cache.pull(reference);
        await assertWhole(faulty, image, reference);
      });
    }
  }
});

test('a proof that took long commits nothing of an object that went meanwhile', async () => {
  await using faulty = await faults.open(UNHURRIED);
  const { services } = faulty.cache;
  const image = noiseImage({ name: 'slow proof', layerBytes: [3_000] });
  const [first, second] = ['proof/first', 'proof/second'].map((repository) => faults.offer(image, repository));
  await faulty.cache.pull(first!);
  // Somebody else's: this pull has to fetch it as proof.
  const layer = layerOf(image);
  const key = { pk: `BLOB#${layer}`, sk: 'BLOB' };
  await faults.changeRow(key, new Set([privateDomain('private.example.test', 'a1b2')]));

  const fetching = Promise.withResolvers<undefined>();
  const gate = Promise.withResolvers<undefined>();
  const upstreams = {
    ...services.pull.upstreams,
    async open(...args: Parameters<typeof services.pull.upstreams.open>) {
      const upstream = await services.pull.upstreams.open(...args);
      const openBlob = async (...[blob, ...rest]: Parameters<Upstream['openBlob']>) => {
        if (blob.digest === layer) {
          fetching.resolve(undefined);
          await gate.promise;
        }
        return upstream.openBlob(blob, ...rest);
      };
      return new Proxy(upstream, {
        get(target, name) {
          if (name === 'openBlob') return openBlob;
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      });
    },
  };
  const pulling = pull({ ...services.pull, upstreams }, request(second!), forever);
  await Promise.race([fetching.promise, pulling]);
  await deleteObject(faults.bench.stack, layer);
  assert.equal(await reportLost(services, layer), true);
  gate.resolve(undefined);
  const receipt = await pulling;
  assert.equal(receipt.outcome, 'pulled');
  await assertWhole(faulty, image, second!);
  assert.equal(await stateOf(faulty.cache, layer), 'present');
});

describe('what one pull saw is not dated by what another one saw', () => {
  test('a publish of arm64 after a loss does not call amd64 complete', async () => {
    await using faulty = await faults.open(UNHURRIED);
    const { cache } = faulty;
    const image = multiArchImage({ name: 'redated' });
    const reference = faults.offer(image, 'dates/platforms');
    await cache.pull(reference, { platforms: ['linux/amd64'] });
    const config = [...image.children.get('linux/amd64')!.blobs.keys()][0]!;
    await deleteObject(faults.bench.stack, config);
    assert.equal(await reportLost(cache.services, config), true);
    await cache.pull(reference, { platforms: ['linux/arm64'] });
    const { root } = await cache.services.catalog.find(parseReference(reference), {
      consistent: true,
      signal: forever,
    });
    assert.ok(root !== undefined);
    assert.ok(root.complete.has(image.children.get('linux/arm64')!.root.digest));
    assert.ok(!root.complete.has(image.children.get('linux/amd64')!.root.digest));
    assert.equal((await cache.pull(reference, { platforms: ['linux/amd64'] })).blobs.copied, 1);
    await assertWhole(faulty, image, reference);
  });

  test('two tags of one digest, published at once around a loss, are both whole in the end', async () => {
    await using one = await faults.open(UNHURRIED);
    await using other = await faults.open(UNHURRIED);
    const image = noiseImage({ name: 'two tags', layerBytes: [1_000, 2_000] });
    const [v1, v2] = ['v1', 'v2'].map((tag) => faults.offer(image, 'dates/tags', tag));
    await one.cache.pull(v1!);
    const layer = layerOf(image);
    const late = stopped(other.cache.services.catalog, 'publish', 'before');
    const pulling = pull({ ...other.cache.services.pull, catalog: late.target }, request(v2!), forever);
    await Promise.race([late.reached, pulling]);
    await deleteObject(faults.bench.stack, layer);
    assert.equal(await reportLost(one.cache.services, layer), true);
    await one.cache.pull(v1!);
    late.goOn();
    await pulling;
    for (const reference of [v1!, v2!]) await assertWhole(one, image, reference);
  });
});

describe('content that somebody else put into the bucket', () => {
  const PART = 5 * 1024 * 1024;

  test('of the right size and of other bytes does not count, in one part or several; the next pull replaces it', async () => {
    await using faulty = await faults.open(UNHURRIED);
    const { cache } = faulty;
    for (const bytes of [4_000, PART + 1_000]) {
      const image = noiseImage({ name: `forged-${bytes}`, layerBytes: [bytes] });
      const reference = faults.offer(image, `forged/${bytes}`);
      const layer = layerOf(image);
      await cache.pull(reference);
      await deleteObject(faults.bench.stack, layer);
      assert.equal(await reportLost(cache.services, layer), true);
      await putBack(faults.bench.stack, layer, Buffer.alloc(bytes, 'x'));
      assert.equal((await cache.validate(reference, { deep: true })).state, 'incomplete');
      assert.notEqual(await stateOf(cache, layer), 'present');
      assert.equal((await cache.pull(reference)).blobs.copied, 1);
      await assertWhole(faulty, image, reference);
    }
  });

  test('without metadata it counts for who is linked to it, and gives nobody else a right (I9)', async () => {
    await using faulty = await faults.open(UNHURRIED);
    const { cache } = faulty;
    const image = noiseImage({ name: 'no metadata', layerBytes: [2_500] });
    const [linked, stranger] = ['metadata/linked', 'metadata/stranger'].map((name) => faults.offer(image, name));
    const layer = layerOf(image);
    await cache.pull(linked!);
    await faults.changeRow(
      { pk: `BLOB#${layer}`, sk: 'BLOB' },
      new Set([privateDomain('private.example.test', 'a1b2')]),
    );
    await deleteObject(faults.bench.stack, layer);
    assert.equal(await reportLost(cache.services, layer), true);
    await putBack(faults.bench.stack, layer, image.blobs.get(layer)!, {});
    const fetched = () => faults.upstream.count({ kind: 'blob', method: 'GET', reference: layer });
    const before = fetched();
    assert.equal((await cache.pull(linked!)).blobs.copied, 0);
    assert.equal(fetched(), before);
    assert.equal((await cache.pull(stranger!)).blobs.copied, 1, 'it is fetched as proof');
    assert.equal(fetched(), before + 1);
  });
});

test('2,520 blobs that are lost together: rows in 30 transactions of 84, nothing else', async () => {
  await using faulty = await faults.open(UNHURRIED);
  const { catalog } = faulty.cache.services;
  const blobs = Array.from({ length: 2_520 }, (_, i) => ({
    digest: `sha256:${i.toString(16).padStart(64, '0')}` as Digest,
    state: 'present' as const,
    commit: String(i),
    domains: new Set<never>(),
  }));
  await faults.putRows(
    blobs.map(({ digest, commit }) => ({ pk: `BLOB#${digest}`, sk: 'BLOB', state: 'present', size: 1, commit })),
  );
  const before = await catalog.readEpoch(blobs[0]!.digest, forever);
  faulty.dynamo.log.length = 0;
  assert.deepEqual(await catalog.recordLoss(blobs, forever), []);
  assert.deepEqual(
    operationsOf(faulty.dynamo),
    Array.from({ length: 30 }, () => 'TransactWriteItems'),
  );
  assert.equal((await catalog.readEpoch(blobs[0]!.digest, forever)) - before, 30);
});
