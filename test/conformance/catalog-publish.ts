import assert from 'node:assert/strict';
import { beforeEach, afterEach, test } from 'node:test';
import { completeKey, leaseKey, pullLeaseName, rootLinkKey, tagKey } from '../../lib/table/keys.ts';
import { CatalogError, ContentSweptError, LeaseLostError } from '../../lib/errors/cache-error.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { parseReference, type Reference } from '../../lib/reference/reference.ts';
import { forever, onDynamo, operationsOf, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import {
  found,
  freshReference,
  LAYER_TYPE,
  lockOf,
  loseSomething,
  MANIFEST_TYPE,
  publicationOf,
  publishNow,
  resolveNow,
  some,
  someDigest,
  someIndex,
  wholeIndex,
} from './catalog-subject.ts';

export function publishing(table: () => TableUnderTest): void {
  let reach: Reach;
  beforeEach(async () => {
    reach = await table().reach();
  });
  afterEach(() => reach[Symbol.asyncDispose]());

  /** Somebody else has the lock now, and the holder does not know. */
  const takeOver = (reference: Reference) =>
    table().change({
      key: leaseKey(pullLeaseName(reference)),
      update: 'SET holder = :other, generation = generation + :one',
      values: { ':other': 'another', ':one': 1 },
    });
  const rowsOf = (reference: Reference, root: Digest) =>
    Promise.all(
      [tagKey(reference), completeKey(root), rootLinkKey(reference.repository, root)].map((key) => table().row(key)),
    );

  for (const consistent of [true, false]) {
    test(`what was never heard of is nothing (consistent: ${consistent})`, async () => {
      assert.deepEqual(await found(reach, freshReference(), consistent), {});
    });
  }

  test('a resolution alone names what the upstream says, and nothing to serve', async () => {
    const reference = freshReference();
    const resolved = someDigest();
    await using lock = await lockOf(reach, reference);
    await resolveNow(reach, reference, resolved, 4_711, lock);
    const pointer = { resolved, checkedMs: 4_711, resolutions: 1, resolvedBy: lock.holder, generation: 0 };
    assert.deepEqual(await found(reach, reference), { pointer });
  });

  test('a resolution is refused without the lock, and changes nothing', async () => {
    const reference = freshReference();
    await using lock = await lockOf(reach, reference);
    await takeOver(reference);
    await assert.rejects(resolveNow(reach, reference, someDigest(), 1, lock), LeaseLostError);
    assert.deepEqual(await found(reach, reference), {});
  });

  test('a resolution that was asked for before another was recorded is refused, whoever holds the lock, and whatever the clocks say', async () => {
    const reference = freshReference();
    const asked = async (checkedMs: number) => {
      const pointer = await reach.catalog.findPointer(reference, { consistent: true, signal: forever });
      return { resolved: someDigest(), checkedMs, pointer };
    };
    for (const lateMs of [1_000, 9_000]) {
      await using lock = await lockOf(reach, reference);
      const late = await asked(lateMs);
      const newer = await asked(5_000);
      const recorded = await reach.catalog.recordResolution(reference, newer, lock, forever);
      assert.deepEqual((await found(reach, reference)).pointer, recorded);
      assert.equal(await reach.catalog.recordResolution(reference, late, lock, forever), undefined);
      assert.deepEqual((await found(reach, reference)).pointer, recorded);
      // Asked again, it is the newest.
      const again = await reach.catalog.recordResolution(reference, await asked(lateMs), lock, forever);
      assert.deepEqual([again?.resolutions, again?.checkedMs], [recorded!.resolutions! + 1, lateMs]);
    }
  });

  test('a publication of what was asked for before another resolution was recorded changes nothing at all', async () => {
    const reference = freshReference();
    const [old, newer] = [someIndex(), someIndex()];
    await publishNow(reach, publicationOf(reference, old));
    await using lock = await lockOf(reach, reference);
    const first = await resolveNow(reach, reference, old.digest, 10, lock);
    const second = await resolveNow(reach, reference, newer.digest, 20, lock);
    const late = publicationOf(reference, old, { pointer: first });
    await assert.rejects(reach.catalog.publish(late, lock, forever), CatalogError);
    assert.deepEqual((await found(reach, reference)).pointer, second);
    const pointer = await reach.catalog.publish(publicationOf(reference, newer, { pointer: second }), lock, forever);
    assert.deepEqual([pointer.published, pointer.resolutions, pointer.resolvedBy], [newer.digest, 2, lock.holder]);
    assert.deepEqual((await found(reach, reference)).pointer, pointer);
  });

  test('what is published without having been asked for was resolved by no one', async () => {
    const reference = freshReference();
    await using lock = await lockOf(reach, reference);
    const pointer = await resolveNow(reach, reference, someDigest(), 10, lock);
    const root = someIndex();
    const published = await reach.catalog.publish(publicationOf(reference, root, { pointer }), lock, forever);
    assert.deepEqual([published.resolved, published.resolvedBy], [root.digest, undefined]);
    assert.deepEqual((await found(reach, reference)).pointer, published);
  });

  for (const consistent of [true, false]) {
    test(`what was published is found whole, in two requests (consistent: ${consistent})`, async () => {
      const reference = freshReference();
      const root = someIndex();
      const [first] = root.entries;
      const blobs = [some('application/vnd.oci.image.config.v1+json', 50), some(), some()];
      const contents = new Map([[first!.digest, blobs]]);
      await using lock = await lockOf(reach, reference);
      const publication = publicationOf(reference, root, { complete: [root.digest, first!.digest], contents });
      const pointer = await reach.catalog.publish(publication, lock, forever);
      assert.deepEqual(pointer, {
        ...{ resolved: root.digest, checkedMs: 1_000, published: root.digest, publishedMs: 2_000, generation: 1 },
        publishedBy: lock.holder,
      });
      reach.proxy.log.length = 0;
      const now = await found(reach, reference, consistent);
      assert.deepEqual(operationsOf(reach.proxy), ['GetItem', 'BatchGetItem']);
      assert.deepEqual(now.pointer, pointer);
      assert.deepEqual(now.linked, new Set([root.digest, first!.digest]));
      const { contents: tallies, ...rest } = now.root!;
      assert.deepEqual(rest, { ...root, complete: new Set([root.digest, first!.digest]), foreign: [] });
      assert.deepEqual(
        tallies.get(first!.digest)?.map(({ size }) => size),
        [50, 1_000, 1_000],
      );
      assert.equal(new Set(tallies.get(first!.digest)?.map(({ id }) => id)).size, 3);
      assert.equal(tallies.get(root.entries[1]!.digest), undefined);
    });
  }

  test('findRoot finds a root that no pointer of the repository names, and its links only for their repository', async () => {
    const [here, elsewhere] = [freshReference(), freshReference()];
    const root = someIndex();
    await publishNow(reach, publicationOf(here, root));
    const now = await reach.catalog.findRoot(here.repository, root.digest, forever);
    assert.equal(now.root?.digest, root.digest);
    assert.equal(now.linked?.size, 4);
    const there = await reach.catalog.findRoot(elsewhere.repository, root.digest, forever);
    assert.equal(there.root?.digest, root.digest);
    assert.equal(there.linked, undefined);
    assert.deepEqual(await reach.catalog.findRoot(here.repository, someDigest('0'), forever), { epoch: 0 });
  });

  test('a publication without the lock changes nothing at all', async () => {
    const reference = freshReference();
    const [old, young] = [someIndex(), someIndex()];
    await publishNow(reach, publicationOf(reference, old));
    const { pointer } = await found(reach, reference);
    await using lock = await lockOf(reach, reference);
    await takeOver(reference);
    const before = await rowsOf(reference, young.digest);
    const publication = publicationOf(reference, young, { pointer });
    await assert.rejects(reach.catalog.publish(publication, lock, forever), (error: unknown) => {
      assert.ok(error instanceof LeaseLostError);
      assert.equal(error.retryable, true);
      assert.match(error.message, /nothing was changed, pull again/);
      return true;
    });
    assert.deepEqual(await rowsOf(reference, young.digest), before);
    assert.equal((await found(reach, reference)).root?.digest, old.digest);
  });

  test('a released lock is no lock', async () => {
    const reference = freshReference();
    const lock = await lockOf(reach, reference);
    await lock.release();
    await assert.rejects(reach.catalog.publish(publicationOf(reference, someIndex()), lock, forever), LeaseLostError);
    assert.deepEqual(await found(reach, reference), {});
  });

  test('a publication of content that was lost meanwhile changes nothing at all', async () => {
    const reference = freshReference();
    const root = someIndex();
    const { epoch } = await reach.catalog.findRoot(reference.repository, root.digest, forever);
    await using lock = await lockOf(reach, reference);
    await loseSomething(reach);
    await assert.rejects(reach.catalog.publish(publicationOf(reference, root, { epoch }), lock, forever), (error) => {
      assert.ok(error instanceof ContentSweptError);
      assert.equal(error.retryable, true);
      assert.match(error.message, /was lost/);
      return true;
    });
    assert.deepEqual(await rowsOf(reference, root.digest), [undefined, undefined, undefined]);
  });

  test('a publication beside a loss that is none of its content looks again, and is published', async () => {
    const reference = freshReference();
    const { root, epoch } = await wholeIndex(reach);
    await using lock = await lockOf(reach, reference);
    await loseSomething(reach);
    await reach.catalog.publish(publicationOf(reference, root, { epoch }), lock, forever);
    const now = await found(reach, reference);
    assert.deepEqual([now.epoch, now.stamp, now.root?.complete.size], [epoch + 1, epoch + 1, 4]);
  });

  test('a publication over a pointer that it did not see changes nothing at all', async () => {
    const reference = freshReference();
    const [known, unseen, ours] = [someIndex(), someIndex(), someIndex()];
    const { pointer } = await publishNow(reach, publicationOf(reference, known));
    await publishNow(reach, publicationOf(reference, unseen));
    const epoch = await reach.catalog.readEpoch(ours.digest, forever);
    await using lock = await lockOf(reach, reference);
    const publication = publicationOf(reference, ours, { pointer, epoch });
    await assert.rejects(reach.catalog.publish(publication, lock, forever), CatalogError);
    assert.equal((await found(reach, reference)).root?.digest, unseen.digest);
    assert.equal(await table().row(completeKey(ours.digest)), undefined);
  });

  test('the pointer: generation grows, previous is what was published before something else', async () => {
    const reference = freshReference();
    const [a, b] = [someIndex(), someIndex()];
    const seen = [];
    for (const [root, checkedMs] of [
      [a, 10],
      [a, 20],
      [b, 30],
      [b, 40],
      [a, 50],
    ] as const) {
      const { pointer } = await publishNow(
        reach,
        publicationOf(reference, root, { checkedMs, publishedMs: checkedMs + 1 }),
      );
      assert.equal(pointer?.resolved, root.digest);
      assert.equal(pointer.published, root.digest);
      assert.equal(pointer.publishedMs, checkedMs + 1);
      seen.push([pointer.generation, pointer.checkedMs, pointer.previous]);
    }
    assert.deepEqual(seen, [
      [1, 10, undefined],
      [2, 20, undefined],
      [3, 30, a.digest],
      [4, 40, a.digest],
      [5, 50, b.digest],
    ]);
  });

  test('a resolution moves only what the upstream says; what is published stays', async () => {
    const reference = freshReference();
    const root = someIndex();
    await publishNow(reach, publicationOf(reference, root));
    const newer = someDigest();
    await using lock = await lockOf(reach, reference);
    await resolveNow(reach, reference, newer, 9_999, lock);
    const { pointer, root: still } = await found(reach, reference);
    assert.deepEqual([pointer?.resolved, pointer?.checkedMs], [newer, 9_999]);
    assert.deepEqual([pointer?.published, pointer?.generation, still?.digest], [root.digest, 1, root.digest]);
  });

  test('completeness is added, by entry and by repository, never replaced; entries never change', async () => {
    const [here, elsewhere] = [freshReference(), freshReference()];
    const root = someIndex();
    const [first, second, third] = root.entries.map(({ digest }) => digest);
    const layers = (n: number) => Array.from({ length: n }, () => some());
    const of = (reference: Reference, entry: Digest, contents: number) =>
      publicationOf(reference, root, {
        complete: [root.digest, entry],
        contents: new Map([[entry, layers(contents)]]),
      });
    await publishNow(reach, of(here, first!, 2));
    await publishNow(reach, of(here, second!, 3));
    const wrong = { ...root, entries: [{ ...some(MANIFEST_TYPE), digest: third! }] };
    const now = await publishNow(reach, { ...of(elsewhere, third!, 4), root: wrong });
    assert.deepEqual(now.root?.complete, new Set([root.digest, first, second, third]));
    assert.deepEqual(now.root.entries, root.entries);
    const counts = [first, second, third].map((entry) => now.root?.contents.get(entry!)?.length);
    assert.deepEqual(counts, [2, 3, 4]);
    assert.deepEqual(now.linked, new Set([root.digest, third]));
    assert.deepEqual((await found(reach, here)).linked, new Set([root.digest, first, second]));
  });

  test('foreign layers of each entry are added, and told again', async () => {
    const reference = freshReference();
    const root = someIndex();
    const foreign = root.entries.map(({ digest: entry }, i) => ({ entry, ...some(LAYER_TYPE, i + 1) }));
    await publishNow(reach, publicationOf(reference, root, { foreign: foreign.slice(0, 2) }));
    await publishNow(reach, publicationOf(reference, root, { foreign: foreign.slice(1) }));
    const now = await publishNow(reach, publicationOf(reference, root));
    assert.deepEqual(
      [...now.root!.foreign].sort((a, b) => a.size - b.size),
      foreign,
    );
  });

  test('what the registry of a repository lacked is kept for it alone, until a publication has it', async () => {
    const reference = freshReference();
    const root = someIndex();
    const [first, second] = root.entries.map(({ digest }) => digest);
    assert.ok(first !== undefined && second !== undefined);
    const complete = [root.digest];
    const skippedAfter = async (over: Parameters<typeof publicationOf>[2]) =>
      [...((await publishNow(reach, publicationOf(reference, root, over))).skipped ?? [])].sort();
    assert.deepEqual(await skippedAfter({ complete }), []);
    assert.deepEqual(await skippedAfter({ complete, skipped: [first, second] }), [first, second].sort());
    assert.deepEqual(await skippedAfter({ complete }), [first, second].sort());
    assert.deepEqual(await skippedAfter({ complete: [root.digest, first] }), [second]);
    const other = freshReference();
    assert.equal((await publishNow(reach, publicationOf(other, root, { complete }))).skipped, undefined);
    assert.deepEqual(await skippedAfter({}), []);
    assert.equal((await found(reach, reference)).skipped, undefined);
  });

  test('a reference by digest has a pointer of its own', async () => {
    const root = someIndex();
    const { repository } = freshReference();
    const byDigest: Reference = { repository, tag: 'ignored', digest: root.digest };
    await publishNow(reach, publicationOf(byDigest, root));
    assert.equal((await found(reach, { repository, digest: root.digest })).root?.digest, root.digest);
    assert.deepEqual(await found(reach, { repository, tag: 'ignored' }), {});
  });

  test('a single manifest is its own entry; an artifact without blobs has nothing to tally', async () => {
    const reference = parseReference(`registry.example.test:5000/${freshReference().repository.path}`);
    const manifest = some(MANIFEST_TYPE, 321);
    const root = { ...manifest, entries: [manifest] };
    const contents = new Map([[manifest.digest, []]]);
    const now = await publishNow(reach, publicationOf(reference, root, { contents }));
    assert.deepEqual(now.root?.entries, [manifest]);
    assert.deepEqual(now.root.contents.get(manifest.digest), []);
  });

  test('lost answers: resolution and publication happened once, and succeed', async () => {
    const reference = freshReference();
    const root = someIndex();
    const epoch = await reach.catalog.readEpoch(root.digest, forever);
    await using lock = await lockOf(reach, reference);
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }));
    await resolveNow(reach, reference, root.digest, 5, lock);
    const { pointer } = await found(reach, reference);
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }, 2));
    const publication = publicationOf(reference, root, { pointer, epoch });
    assert.equal((await reach.catalog.publish(publication, lock, forever)).generation, 1);
    assert.equal((await found(reach, reference)).pointer?.generation, 1);
  });
}
