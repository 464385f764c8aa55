import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { bareEntries } from '../../lib/catalog/needs.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { forever, onDynamo, operationsOf, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import {
  found,
  freshReference,
  INDEX_TYPE,
  lockOf,
  loseSomething,
  publicationOf,
  publishNow,
  recorded,
  some,
  someDigest,
  wholeIndex,
} from './catalog-subject.ts';

/** What is complete is remembered with its date: see the drawing in lib/catalog/dynamo-completeness.ts. */
export function completeness(table: () => TableUnderTest): void {
  let reach: Reach;
  beforeEach(async () => {
    reach = await table().reach();
  });
  afterEach(() => reach[Symbol.asyncDispose]());

  const lose = async (digest: Digest): Promise<void> => {
    const rows = await reach.catalog.findBlobs([digest], forever);
    assert.deepEqual(await reach.catalog.recordLoss([...rows.values()], forever), []);
  };
  const whole = async (root: Digest, manifests: readonly Digest[], remember = false) => [
    ...(await reach.catalog.findWhole(root, manifests, { remember, signal: forever })),
  ];

  test('a loss anywhere makes what is remembered old; the rows say what is whole, and that is remembered again', async () => {
    const reference = freshReference();
    const { root } = await wholeIndex(reach);
    const all = [root.digest, ...root.entries.map(({ digest }) => digest)];
    await publishNow(reach, publicationOf(reference, root));
    assert.deepEqual((await found(reach, reference)).root?.complete, new Set(all));
    await loseSomething(reach);
    assert.deepEqual((await found(reach, reference)).root?.complete, new Set());
    reach.proxy.log.length = 0;
    assert.deepEqual(await whole(root.digest, all, true), all);
    assert.deepEqual(operationsOf(reach.proxy), ['BatchGetItem', 'BatchGetItem', 'TransactWriteItems']);
    assert.deepEqual((await found(reach, reference)).root?.complete, new Set(all));
  });

  test('what is not asked to be remembered is not written', async () => {
    const { root } = await wholeIndex(reach);
    reach.proxy.log.length = 0;
    assert.deepEqual(await whole(root.digest, [root.digest]), [root.digest]);
    assert.deepEqual(operationsOf(reach.proxy), ['BatchGetItem', 'BatchGetItem']);
    assert.deepEqual(await whole(root.digest, []), []);
  });

  test('one blob that is lost takes its manifest alone; without its own row, or without what it needs, a manifest is not whole', async () => {
    const { root, contents } = await wholeIndex(reach);
    const [first, second, third] = root.entries.map(({ digest }) => digest) as [Digest, Digest, Digest];
    await lose(contents.get(first)![1]!.digest);
    await lose(third);
    const stranger = someDigest();
    assert.deepEqual(await whole(root.digest, [root.digest, first, second, third, stranger]), [root.digest, second]);
  });

  test('what an index lists beside manifests is whole with its own row alone, also while others lose something', async () => {
    const { root: index } = await wholeIndex(reach);
    const [layer, opaque] = [some(), some('application/vnd.example.unknown')];
    const root = { ...index, entries: [...index.entries, layer, opaque] };
    const own = new Map([
      [layer.digest, [layer]],
      [opaque.digest, []],
    ]);
    for (const content of [layer, opaque]) await recorded(reach, content);
    const reference = freshReference();
    // The first has an old epoch: it is published by its rows.
    await loseSomething(reach);
    await using lock = await lockOf(reach, reference);
    await reach.catalog.publish(publicationOf(reference, root, { contents: own, epoch: -1 }), lock, forever);
    await loseSomething(reach);
    const { root: known } = await found(reach, reference);
    assert.deepEqual(known?.complete, new Set());
    const bare = bareEntries(known);
    assert.deepEqual(
      bare,
      new Map([
        [layer.digest, 'blob'],
        [opaque.digest, 'manifest'],
      ]),
    );
    const both = [layer.digest, opaque.digest];
    const wholeOf = () => reach.catalog.findWhole(root.digest, both, { remember: false, bare, signal: forever });
    assert.deepEqual([...(await wholeOf())], both);
    assert.deepEqual(await whole(root.digest, both), [], 'nobody said that they need nothing');
    for await (const image of reach.catalog.imagesOf(reference.repository, undefined, forever)) {
      assert.equal(image.root?.complete.size, 1 + root.entries.length);
    }
    await lose(layer.digest);
    assert.deepEqual([...(await wholeOf())], [opaque.digest]);
  });

  test('what one registry calls a blob, or an unknown manifest, another may call an image: what that needs stands', async () => {
    for (const before of ['blob', 'manifest'] as const) {
      const entry = some('application/vnd.example.unknown');
      const [layer, index] = [some(), some(INDEX_TYPE)];
      const root = { ...index, entries: [entry] };
      for (const content of [index, entry, layer]) await recorded(reach, content);
      await reach.catalog.writeContents(new Map([[index.digest, []]]), forever);
      const first = new Map([[entry.digest, before === 'blob' ? [entry] : []]]);
      await publishNow(reach, publicationOf(freshReference(), root, { contents: first }));
      const reference = freshReference();
      await reach.catalog.writeContents(new Map([[entry.digest, [layer.digest]]]), forever);
      const own = new Map([[entry.digest, [layer]]]);
      const { root: known } = await publishNow(reach, publicationOf(reference, root, { contents: own }));
      assert.ok(known !== undefined);
      assert.deepEqual(bareEntries(known), new Map(), before);
      await lose(layer.digest);
      for await (const image of reach.catalog.imagesOf(reference.repository, undefined, forever)) {
        assert.deepEqual(image.root?.complete, new Set([index.digest]), before);
      }
    }
  });

  test('a manifest of 250 blobs: one read for each hundred', async () => {
    const manifest = someDigest();
    const blobs = Array.from({ length: 250 }, () => some());
    const needs = new Map([[manifest, blobs.map(({ digest }) => digest)]]);
    await reach.catalog.writeContents(needs, forever);
    reach.proxy.log.length = 0;
    assert.deepEqual(await whole(manifest, [manifest]), []);
    assert.equal(operationsOf(reach.proxy).length, 1 + 3);
    assert.deepEqual(await reach.catalog.findNeeds([manifest, someDigest()], forever), needs);
    assert.deepEqual(await reach.catalog.findNeeds([], forever), new Map());
  });

  test('who brings a newer date replaces the set by what it saw; who finds the same date adds to it', async () => {
    const [amd, arm] = [freshReference(), freshReference()];
    const { root } = await wholeIndex(reach);
    const [first, second] = root.entries.map(({ digest }) => digest) as [Digest, Digest];
    const remembered = async () => (await found(reach, amd)).root?.complete;
    await publishNow(reach, publicationOf(amd, root, { complete: [root.digest, first] }));
    await loseSomething(reach);
    // A publish of arm64 that was planned after the loss says nothing of amd64.
    await publishNow(reach, publicationOf(arm, root, { complete: [root.digest, second] }));
    assert.deepEqual(await remembered(), new Set([root.digest, second]));
    await whole(root.digest, [first], true);
    assert.deepEqual(await remembered(), new Set([root.digest, first, second]));
  });

  test('what was seen before a loss is not remembered after it', async () => {
    const { root } = await wholeIndex(reach);
    const reference = freshReference();
    const first = root.entries[0]!.digest;
    await publishNow(reach, publicationOf(reference, root, { complete: [root.digest] }));
    let rounds = 0;
    const until = (async () => {
      await lose(first);
      rounds += 1;
    })();
    // The rows are read before the loss, the transaction comes after it.
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'hold', until }));
    await whole(root.digest, [root.digest, first], true);
    await until;
    assert.equal(rounds, 1);
    assert.deepEqual((await found(reach, reference)).root?.complete, new Set());
  });

  test('a publish that adds nothing to what is remembered writes no set, and reads nothing', async () => {
    const { root } = await wholeIndex(reach);
    const [reference, other] = [freshReference(), freshReference()];
    await publishNow(reach, publicationOf(reference, root));
    const row = await table().row({ pk: `ROOT#${root.digest}`, sk: 'COMPLETE' });
    await using lock = await lockOf(reach, other);
    const known = await reach.catalog.findRoot(other.repository, root.digest, forever);
    reach.proxy.log.length = 0;
    const { epoch, stamp } = known;
    await reach.catalog.publish(publicationOf(other, root, { epoch, stamp, known }), lock, forever);
    assert.deepEqual(operationsOf(reach.proxy), ['TransactWriteItems']);
    assert.deepEqual(await table().row({ pk: `ROOT#${root.digest}`, sk: 'COMPLETE' }), row);
  });
}
