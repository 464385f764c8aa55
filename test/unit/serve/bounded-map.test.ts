import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundedMap } from '../../../lib/serve/bounded-map.ts';

test('forgets what was not asked for the longest', () => {
  const map = boundedMap<number>(2);
  map.set('a', 1);
  map.set('b', 2);
  assert.equal(map.get('a'), 1);
  map.set('c', 3);
  assert.deepEqual([map.get('a'), map.get('b'), map.get('c')], [1, undefined, 3]);
  map.delete('a');
  assert.equal(map.get('a'), undefined);
});

test('is bounded by weight; what is too heavy alone is not kept, and nothing else goes for it', () => {
  const map = boundedMap<Uint8Array>(10, (bytes) => bytes.byteLength);
  map.set('a', new Uint8Array(6));
  map.set('b', new Uint8Array(11));
  assert.deepEqual([map.get('a')?.byteLength, map.get('b')], [6, undefined]);
  map.set('c', new Uint8Array(5));
  assert.deepEqual([map.get('a'), map.get('c')?.byteLength], [undefined, 5]);
  // One that is set again weighs once.
  map.set('c', new Uint8Array(4));
  map.set('d', new Uint8Array(6));
  assert.deepEqual([map.get('c')?.byteLength, map.get('d')?.byteLength], [4, 6]);
});
