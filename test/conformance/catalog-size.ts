import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rootKey } from '../../lib/table/keys.ts';
import type { IndexEntry } from '../../lib/oci/descriptor.ts';
import type { TableUnderTest } from '../support/table-under-test.ts';
import { found, freshReference, INDEX_TYPE, LAYER_TYPE, publicationOf, publishNow, some } from './catalog-subject.ts';

export function largestRoots(table: () => TableUnderTest): void {
  test('a thousand entries of ten layers fit into a row, also when many pulls add them', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    const entries: IndexEntry[] = Array.from({ length: 1_000 }, (_, i) => ({
      ...some('application/vnd.docker.distribution.manifest.v2+json', 100_000 + i),
      platform: { os: 'linux', architecture: `architecture-${i % 100}`, variant: `v${i}` },
    }));
    for (let i = 500; i < 1_000; i++) entries[i] = { ...entries[i]!, attests: entries[i - 500]!.digest };
    const root = { ...some(INDEX_TYPE, 300_000), entries };
    for (let from = 0; from < 1_000; from += 250) {
      const part = entries.slice(from, from + 250).map(({ digest }) => digest);
      const contents = new Map(
        part.map((child) => [child, Array.from({ length: 11 }, () => some(LAYER_TYPE, 2 ** 35))]),
      );
      const foreign = part.map((entry) => ({ entry, ...some(LAYER_TYPE, 1_000) }));
      await publishNow(reach, publicationOf(reference, root, { complete: [root.digest, ...part], contents, foreign }));
    }
    const now = await found(reach, reference);
    assert.deepEqual(now.root?.entries, entries);
    assert.equal(now.root.complete.size, 1_001);
    assert.equal(now.linked?.size, 1_001);
    for (const { digest } of entries) assert.equal(now.root.contents.get(digest)?.length, 11);
    assert.equal(now.root.contents.get(entries[7]!.digest)?.[0]?.size, 2 ** 35);
    const row = (await table().row(rootKey(root.digest)))!;
    const bytes = Object.entries(row).reduce((sum, [name, value]) => sum + name.length + attributeBytes(value), 0);
    assert.ok(bytes < 350_000, `the row has about ${bytes} bytes`);
    assert.ok(bytes > 200_000, `the row has about ${bytes} bytes: is this still the worst case?`);
  });
}

/** As DynamoDB counts: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html */
function attributeBytes(value: unknown): number {
  if (value instanceof Set) return [...value].reduce<number>((sum, one) => sum + attributeBytes(one), 3);
  if (value instanceof Uint8Array) return value.byteLength;
  if (typeof value === 'string') return Buffer.byteLength(value);
  return 21;
}
