import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '../../../lib/oci/digest.ts';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { batchesOf, MAX_BATCHES } from '../../../lib/jobs/plan-document.ts';

const MIB = 1024 * 1024;
/** What a blob weighs beside its bytes. */
const OVERHEAD = MIB;

const blobsOf = (sizes: readonly number[]): Descriptor[] =>
  sizes.map((size, i) => ({ digest: digestOf(Buffer.from(String(i))), size, mediaType: 'layer' }));
const weightOf = (blobs: readonly Descriptor[]): number => blobs.reduce((sum, { size }) => sum + size + OVERHEAD, 0);

describe('batches', () => {
  test('hold each blob once, none is empty, and none is heavier than the average by more than its lightest blob', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 2 ** 34 }), { maxLength: 600 });
    fc.assert(
      fc.property(sizes, (all) => {
        const blobs = blobsOf(all);
        const batches = batchesOf(blobs);
        assert.ok(batches.length <= Math.min(MAX_BATCHES, blobs.length));
        assert.deepEqual(
          batches
            .flat()
            .map(({ digest }) => digest)
            .sort(),
          blobs.map(({ digest }) => digest).sort(),
        );
        const average = weightOf(blobs) / Math.max(1, batches.length);
        for (const batch of batches) {
          assert.ok(batch.length > 0);
          const lightest = Math.min(...batch.map((blob) => weightOf([blob])));
          assert.ok(weightOf(batch) <= average + lightest + 1);
          assert.deepEqual(
            batch.map(({ size }) => size),
            batch.map(({ size }) => size).sort((a, b) => b - a),
          );
        }
      }),
    );
  });

  test('are none for nothing, one for little, and as many as a Map takes for much', () => {
    assert.deepEqual(batchesOf([]), []);
    assert.equal(batchesOf(blobsOf([10 * MIB, 20 * MIB, 0])).length, 1);
    assert.equal(batchesOf(blobsOf([100 * MIB, 100 * MIB, 100 * MIB])).length, 3);
    assert.equal(batchesOf(blobsOf([50_000 * MIB])).length, 1);
    assert.equal(batchesOf(blobsOf(Array.from({ length: 1_000 }, () => 100 * MIB))).length, MAX_BATCHES);
  });
});
