import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { contentsItem, entriesItem, foreignItem, needsFrom, needsItem, rootFrom } from '../../../lib/catalog/items.ts';
import type { Descriptor, IndexEntry } from '../../../lib/oci/descriptor.ts';
import type { Digest } from '../../../lib/oci/digest.ts';

const digest = (): Digest => `sha256:${randomBytes(32).toString('hex')}` as Digest;
const blob = (size: number): Descriptor => ({ mediaType: 'application/octet-stream', digest: digest(), size });

/** The root that a row with these attributes gives. */
const read = (entries: readonly IndexEntry[], contents: ReadonlySet<Uint8Array> | undefined) =>
  rootFrom({ pk: `ROOT#${digest()}`, mediaType: 'm', size: 1, entries: entriesItem(entries), contents }, undefined, 0);

const bytesOf = (set: ReadonlySet<Uint8Array>): number => [...set].reduce((sum, one) => sum + one.byteLength, 0);

test('entries come back as they were, with nothing that was not there', () => {
  const entries: IndexEntry[] = [
    blob(1),
    { ...blob(2), platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
    { ...blob(3), attests: digest() },
  ];
  assert.deepEqual(read(entries, undefined).entries, entries);
  assert.deepEqual(read([], undefined).entries, []);
});

test('what a manifest needs comes back as it was, and 10,000 digests fit into a row', () => {
  const [manifest, needs] = [digest(), Array.from({ length: 10_000 }, digest)];
  const packed = needsItem(needs);
  assert.ok(packed.byteLength < 350_000, `${packed.byteLength} bytes`);
  assert.deepEqual(needsFrom({ pk: `CHILD#${manifest}`, needs: packed }), [manifest, needs]);
  assert.deepEqual(needsFrom({ pk: `CHILD#${manifest}`, needs: needsItem([]) }), [manifest, []]);
});

test('digests of both algorithms, in any order, come back as they were; another algorithm is not guessed', () => {
  const long = (): Digest => `sha512:${randomBytes(64).toString('hex')}` as Digest;
  const manifest = long();
  const needs = [long(), digest(), digest(), long(), long(), digest()];
  const packed = needsItem(needs);
  assert.deepEqual(needsFrom({ pk: `CHILD#${manifest}`, needs: packed }), [manifest, needs]);
  assert.ok(needsItem(Array.from({ length: 1_001 }, long)).byteLength < 70_000);
  const newer = Buffer.concat([packed, Buffer.of(3), randomBytes(48)]);
  assert.throws(() => needsFrom({ pk: `CHILD#${manifest}`, needs: newer }), { name: 'CatalogError', retryable: false });
});

test('where pulls found different things of the same entry, what needs more stands', () => {
  const [entry, layers] = [blob(5), [blob(1), blob(2)]];
  const one = (...needs: Descriptor[]) => [...contentsItem(new Map([[entry.digest, needs]]), 1)];
  const sizesOf = (set: readonly Uint8Array[]) =>
    read([], new Set(set))
      .contents.get(entry.digest)
      ?.map(({ size }) => size);
  const [itself, nothing, first, both] = [one(entry), one(), one(layers[0]!), one(...layers)];
  for (const [elements, sizes] of [
    [[...nothing, ...itself], [5]],
    [[...itself, ...first], [1]],
    [[...nothing, ...first, ...itself], [1]],
    [
      [...itself, ...both, ...nothing],
      [1, 2],
    ],
  ] as const) {
    assert.deepEqual(sizesOf(elements), sizes);
    assert.deepEqual(sizesOf([...elements].reverse()), sizes);
  }
});

test('of an entry only what the catalogue keeps is written', () => {
  const entry = { ...blob(1), annotations: { secret: 'x' } } as IndexEntry;
  assert.deepEqual(Object.keys(read([entry], undefined).entries[0]!).sort(), ['digest', 'mediaType', 'size']);
});

test('tallies: sizes of every kind, also none, and ids that tell blobs apart', () => {
  const [first, second] = [digest(), digest()];
  const sizes = [0, 1, 255, 256, 2 ** 32, 2 ** 40 + 1];
  const blobs = sizes.map(blob);
  const { contents } = read(
    [],
    contentsItem(
      new Map([
        [first, blobs],
        [second, []],
      ]),
      2,
    ),
  );
  assert.deepEqual(
    contents.get(first)?.map(({ size }) => size),
    sizes,
  );
  assert.equal(new Set(contents.get(first)?.map(({ id }) => id)).size, sizes.length);
  assert.deepEqual(contents.get(second), []);
  assert.equal(contents.get(digest()), undefined);
});

test('the same entry gives the same element, whatever else is published with it', () => {
  const child = digest();
  const blobs = [blob(1), blob(2)];
  const alone = contentsItem(new Map([[child, blobs]]), 10);
  const among = contentsItem(
    new Map([
      [digest(), [blob(3)]],
      [child, blobs],
    ]),
    10,
  );
  assert.deepEqual([...among][1], [...alone][0]);
});

test('the set is bounded for any number of entries up to the limit, whatever they hold', () => {
  const all = Array.from({ length: 25_000 }, () => blob(1));
  for (const [entries, blobs] of [
    [1, 20_000],
    [2, 10_000],
    [50, 500],
    [1_000, 20],
  ] as const) {
    const contents = new Map(
      Array.from({ length: entries }, (_, entry) => [digest(), all.slice(entry * blobs, (entry + 1) * blobs)]),
    );
    const bytes = bytesOf(contentsItem(contents, entries));
    assert.ok(bytes <= 180_000, `${entries} entries take ${bytes} bytes`);
  }
});

test('foreign layers: each entry has its share, whatever else is published with it', () => {
  const layersOf = (entry: Digest, count: number) => Array.from({ length: count }, () => ({ entry, ...blob(1) }));
  const [first, second] = [layersOf(digest(), 80), layersOf(digest(), 3)];
  const together = foreignItem([...first, ...second], 2);
  assert.equal(together.size, 53);
  assert.deepEqual(together, new Set([...foreignItem(first, 2), ...foreignItem(second, 2)]));
  assert.equal(foreignItem(first, 1).size, 80);
  assert.equal(foreignItem(first, 1_000).size, 0);
});
