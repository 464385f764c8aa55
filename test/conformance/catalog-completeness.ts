import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Digest } from '../../lib/oci/digest.ts';
import { forever, onDynamo, operationsOf, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import {
  found,
  freshReference,
  lockOf,
  loseSomething,
  publicationOf,
  publishNow,
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

  test('a manifest of 250 blobs: one read for each hundred', async () => {
    const manifest = someDigest();
    const blobs = Array.from({ length: 250 }, () => some());
    await reach.catalog.writeContents(new Map([[manifest, blobs.map(({ digest }) => digest)]]), forever);
    reach.proxy.log.length = 0;
    assert.deepEqual(await whole(manifest, [manifest]), []);
    assert.equal(operationsOf(reach.proxy).length, 1 + 3);
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
