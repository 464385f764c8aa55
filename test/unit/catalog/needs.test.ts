import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neederOf, withNeeders } from '../../../lib/catalog/needs.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';

const named = (name: string): Digest => digestOf(Buffer.from(name));
const [index, amd64, arm64, layer] = ['index', 'amd64', 'arm64', 'layer'].map(named) as [
  Digest,
  Digest,
  Digest,
  Digest,
];
const use = (digest: Digest, root: Digest, child: Digest) => ({ digest, root, child });
const link = (digest: Digest) => ({ mediaType: 'application/octet-stream', digest, size: 1 });

test('a blob is needed by its manifest, a manifest by the root that leads to it, a root by nobody', () => {
  assert.equal(neederOf(use(layer, index, amd64)), amd64);
  assert.equal(neederOf(use(layer, amd64, amd64)), amd64);
  assert.equal(neederOf(use(amd64, index, amd64)), index);
  assert.equal(neederOf(use(index, index, index)), undefined);
});

test('each link has the first that needs it; a root has none', () => {
  const uses = [use(index, index, index), use(amd64, index, amd64), use(layer, index, amd64), use(layer, index, arm64)];
  assert.deepEqual(withNeeders([link(index), link(amd64), link(layer), link(arm64)], uses), [
    link(index),
    { ...link(amd64), neededBy: index },
    { ...link(layer), neededBy: amd64 },
    link(arm64),
  ]);
  assert.deepEqual(withNeeders([], uses), []);
});
