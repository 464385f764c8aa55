import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { BlobsFailedError } from '../../../lib/errors/cache-error.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { noiseImage, type Image } from '../../support/images.ts';
import { when, type Action } from '../../support/upstream/upstream.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

/*
 * A layer that its registry does not give fails itself: its neighbours are copied, kept and linked, and the error names it and its reason.
 */

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

const SIZES = [4_000, 5_000, 6_000, 7_000, 8_000, 9_000] as const;
const layersOf = (image: Image): Digest[] =>
  SIZES.map((size) => [...image.blobs].find(([, { byteLength }]) => byteLength === size)![0]);

async function linkedOf(reference: string, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
  const { repository } = parseReference(reference);
  const links = await bench.cache.services.catalog.findLinks(repository, digests, AbortSignal.timeout(5_000));
  return new Set(links.keys());
}

const kinds: { name: string; action: Action; error: string; isOnce?: boolean }[] = [
  { name: '404', action: { status: 404 }, error: 'BlobUnknownError' },
  { name: '500, always', action: { status: 500 }, error: 'UpstreamUnavailableError' },
  { name: 'a reset, always', action: { dropAfterBytes: 0 }, error: 'UpstreamUnavailableError' },
  { name: 'bytes that are not its digest', action: { body: Buffer.alloc(6_000, 1) }, error: 'ContentMismatchError' },
  { name: 'too few bytes', action: { body: Buffer.alloc(10, 1) }, error: 'ContentMismatchError' },
];

describe('one bad layer fails itself', () => {
  for (const [i, { name, action, error }] of kinds.entries()) {
    test(name, async () => {
      const image = noiseImage({ name: `bad ${name}`, layerBytes: [...SIZES] });
      const reference = bench.offer(image, `bad/layer-${i}`);
      const layers = layersOf(image);
      const [, , bad] = layers;
      const repair = bench.upstream.fault(when({ kind: 'blob', method: 'GET', reference: bad! }, action));
      await bench.fails(reference, { name: error });

      const good = [...image.blobs.keys()].filter((digest) => digest !== bad);
      assert.deepEqual(await linkedOf(reference, [...image.blobs.keys()]), new Set(good));
      for (const digest of good) assert.equal(bench.upstream.count({ kind: 'blob', reference: digest }), 1);

      // And when it is mended, it alone is fetched.
      repair();
      bench.upstream.requests.length = 0;
      const receipt = await bench.succeeds(reference);
      assert.deepEqual([receipt.blobs.copied, receipt.blobs.present], [1, good.length]);
    });
  }
});

test('each of several is named, with its own reason', async () => {
  const image = noiseImage({ name: 'several bad', layerBytes: [...SIZES] });
  const reference = bench.offer(image, 'bad/several');
  const [first, , third] = layersOf(image);
  bench.upstream.fault(when({ kind: 'blob', reference: first! }, { status: 404 }));
  bench.upstream.fault(when({ kind: 'blob', reference: third! }, { status: 500 }));
  await assert.rejects(bench.cache.pull(reference), (error: unknown) => {
    assert.ok(error instanceof BlobsFailedError);
    const reasons = new Map(error.failures.map((failure) => [failure.digest, failure.error.name]));
    assert.deepEqual(
      reasons,
      new Map([
        [first!, 'BlobUnknownError'],
        [third!, 'UpstreamUnavailableError'],
      ]),
    );
    for (const digest of reasons.keys()) assert.match(error.message, new RegExp(digest));
    assert.deepEqual([error.code, error.retryable], ['BLOB_UNKNOWN', false]);
    return true;
  });
  assert.equal((await linkedOf(reference, [...image.blobs.keys()])).size, image.blobs.size - 2);
});

test('a registry that gives no blob at all is not asked for every one of hundreds', async () => {
  const image = noiseImage({ name: 'all bad', layerBytes: Array.from({ length: 60 }, (_, i) => 1_000 + i) });
  const reference = bench.offer(image, 'bad/all');
  bench.upstream.fault(({ kind, reference: digest }) => {
    // The config of a single image comes before everything else.
    const isLayer = kind === 'blob' && (image.blobs.get(digest as Digest)?.byteLength ?? 0) >= 1_000;
    return isLayer ? { status: 503 } : undefined;
  });
  await bench.fails(reference, { name: 'UpstreamUnavailableError' });
  const asked = new Set(bench.upstream.requests.filter(({ kind }) => kind === 'blob').map((one) => one.reference));
  assert.ok(asked.size < 20, `${asked.size} blobs were asked for`);
});
