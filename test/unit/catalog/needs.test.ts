import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bareEntries, blobEntries, talliesOf, withNeeders } from '../../../lib/catalog/needs.ts';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
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

test('a blob that an index lists is needed by the root, and not by itself', () => {
  const contents = new Map([[layer, [link(layer)]]]);
  assert.deepEqual(blobEntries(contents), [layer]);
  assert.deepEqual(withNeeders([landed(index), link(layer)], { root: index, contents, foreign: [] }), [
    landed(index),
    { ...link(layer), neededBy: index },
  ]);
  // A manifest that has it, too, brings it just as well.
  const both = new Map([...contents, [amd64, [link(layer)]]]);
  assert.deepEqual(withNeeders([link(layer)], { root: index, contents: both, foreign: [] }), [
    { ...link(layer), neededBy: amd64 },
  ]);
});

test('bare is what no type calls a manifest, and what was found to need nothing but itself', () => {
  const contents = new Map<Digest, readonly Descriptor[]>([
    [layer, [link(layer)]],
    [arm64, []],
    [amd64, [link(layer)]],
  ]);
  const bare = (...entries: readonly Descriptor[]) => [...bareEntries({ entries, contents: talliesOf(contents) })];
  assert.deepEqual(bare(link(layer), link(arm64), link(amd64), link(index)), [
    [layer, 'blob'],
    [arm64, 'manifest'],
  ]);
  const typed = (digest: Digest) => ({ ...link(digest), mediaType: OCI_MANIFEST });
  assert.deepEqual(bare(typed(layer), typed(arm64)), []);
  assert.deepEqual(bare(link(arm64), typed(arm64)), [], 'one entry that calls it a manifest is enough');
});
