import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { StoreError } from '../../../lib/errors/cache-error.ts';
import {
  DEFAULT_PART_BYTES,
  DEFAULT_WINDOW_PARTS,
  MAX_PARTS,
  MIN_PART_BYTES,
  planParts,
} from '../../../lib/store/parts.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const planned = (size: number): ReturnType<typeof planParts> =>
  planParts(size, DEFAULT_PART_BYTES, DEFAULT_WINDOW_PARTS);

test('the part size is the one asked for while 1,000 parts suffice', () => {
  assert.deepEqual(planned(0), { partBytes: 8 * MIB, parts: 0, windowParts: 4 });
  assert.deepEqual(planned(8 * MIB), { partBytes: 8 * MIB, parts: 1, windowParts: 4 });
  assert.deepEqual(planned(8 * MIB + 1), { partBytes: 8 * MIB, parts: 2, windowParts: 4 });
  assert.deepEqual(planned(8000 * MIB), { partBytes: 8 * MIB, parts: 1000, windowParts: 4 });
});

test('above that, parts grow and the window shrinks to two', () => {
  assert.deepEqual(planned(8000 * MIB + 1), { partBytes: 9 * MIB, parts: 889, windowParts: 3 });
  assert.deepEqual(planned(100 * GIB), { partBytes: 103 * MIB, parts: 995, windowParts: 2 });
});

test('the largest blob fits, one byte more is refused', () => {
  assert.deepEqual(planned(5000 * GIB), { partBytes: 5 * GIB, parts: 1000, windowParts: 2 });
  assert.throws(
    () => planned(5000 * GIB + 1),
    (error) => error instanceof StoreError && !error.retryable,
  );
});

test('every plan is within the limits of S3 and covers the blob exactly', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.integer({ min: 0, max: 100 * MIB }), fc.integer({ min: 0, max: 5000 * GIB })),
      fc.integer({ min: 1, max: 64 * MIB }),
      fc.integer({ min: 1, max: 16 }),
      (size, partBytes, windowParts) => {
        const plan = planParts(size, partBytes, windowParts);
        assert.equal(plan.partBytes % MIB, 0);
        assert.ok(plan.partBytes >= MIN_PART_BYTES && plan.partBytes >= partBytes && plan.partBytes <= 5 * GIB);
        assert.ok(plan.parts <= MAX_PARTS);
        assert.ok(plan.parts * plan.partBytes >= size && (plan.parts - 1) * plan.partBytes < Math.max(size, 1));
        assert.ok(plan.windowParts >= 1 && plan.windowParts <= windowParts);
      },
    ),
  );
});
