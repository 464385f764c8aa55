import fc from 'fast-check';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES, BlockSums, isBlock } from '../../../infra/local/s3/block-sums.ts';
import { noise } from '../../support/images.ts';

const bytes = noise(3 * BLOCK_BYTES, 'blocks');

const sumsOf = (...pieces: readonly Uint8Array[]): Uint8Array => {
  const sums = new BlockSums();
  for (const piece of pieces) sums.add(piece);
  return sums.end();
};

test('sums do not depend on how the bytes come', () => {
  const size = fc.integer({ min: 0, max: bytes.byteLength });
  fc.assert(
    fc.property(size, fc.array(size, { maxLength: 6 }), (end, cuts) => {
      const edges = [0, ...cuts.filter((cut) => cut <= end).sort((one, other) => one - other), end];
      const pieces = edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge));
      assert.deepEqual(sumsOf(...pieces), sumsOf(bytes.subarray(0, end)));
    }),
    { numRuns: 50 },
  );
});

test('a block is right in its own place, with all its bytes', () => {
  const end = 2 * BLOCK_BYTES + 100;
  const sums = sumsOf(bytes.subarray(0, end));
  const blocks = [0, 1, 2].map((block) =>
    bytes.subarray(block * BLOCK_BYTES, Math.min((block + 1) * BLOCK_BYTES, end)),
  );
  for (const [block, content] of blocks.entries()) {
    assert.ok(isBlock(sums, block, content));
    assert.ok(!isBlock(sums, block, content.subarray(1)), 'shorter');
    assert.ok(!isBlock(sums, block, blocks[(block + 1) % 3]!), 'another one');
    const changed = Buffer.from(content);
    changed[changed.byteLength >> 1]! ^= 1;
    assert.ok(!isBlock(sums, block, changed), 'changed');
  }
  assert.ok(!isBlock(sums, 3, new Uint8Array()), 'behind the end');
  assert.equal(sumsOf().byteLength, 0);
});
