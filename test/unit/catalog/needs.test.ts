import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withNeeders } from '../../../lib/catalog/needs.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';

const named = (name: string): Digest => digestOf(Buffer.from(name));
const [index, amd64, arm64, layer] = ['index', 'amd64', 'arm64', 'layer'].map(named) as [
  Digest,
  Digest,
  Digest,
  Digest,
];
const link = (digest: Digest) => ({ mediaType: 'application/octet-stream', digest, size: 1 });
const landed = (digest: Digest) => ({ ...link(digest), landed: true });

test('a blob is needed by the first manifest that names it, a manifest by the root that leads to it, a root by none', () => {
  const contents = new Map([
    [amd64, [link(layer)]],
    [arm64, [link(layer)]],
  ]);
  assert.deepEqual(
    withNeeders([landed(index), landed(amd64), link(layer), landed(arm64)], { root: index, contents, foreign: [] }),
    [
      landed(index),
      { ...landed(amd64), neededBy: index },
      { ...link(layer), neededBy: amd64 },
      { ...landed(arm64), neededBy: index },
    ],
  );
  assert.deepEqual(withNeeders([], { root: index, contents, foreign: [] }), []);
});

test('of a single image the blobs are needed by the root', () => {
  const contents = new Map([[amd64, [link(layer)]]]);
  assert.deepEqual(withNeeders([landed(amd64), link(layer)], { root: amd64, contents, foreign: [] }), [
    landed(amd64),
    { ...link(layer), neededBy: amd64 },
  ]);
});

test('a foreign layer is needed by its manifest, though that is complete without it', () => {
  const contents = new Map([[amd64, []]]);
  const foreign = [{ ...link(layer), entry: amd64 }];
  assert.deepEqual(withNeeders([landed(index), landed(amd64), link(layer)], { root: index, contents, foreign }), [
    landed(index),
    { ...landed(amd64), neededBy: index },
    { ...link(layer), neededBy: amd64 },
  ]);
});
