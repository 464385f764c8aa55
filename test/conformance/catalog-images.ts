import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { CachedReference } from '../../lib/catalog/catalog.ts';
import { allImages } from '../../lib/images/images.ts';
import { tagKey } from '../../lib/table/keys.ts';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import { formatReference, parseReference, type Reference, type Repository } from '../../lib/reference/reference.ts';
import { TOMBSTONE_MS } from '../../lib/store/ref-record.ts';
import { forever, type TableUnderTest } from '../support/table-under-test.ts';
import {
  found,
  freshReference,
  lockOf,
  publicationOf,
  publishNow,
  resolveNow,
  someDigest,
  someIndex,
} from './catalog-subject.ts';

export function images(table: () => TableUnderTest): void {
  test('lists every published reference of every repository, and no other', async () => {
    await using reach = await table().reach();
    const run = randomUUID();
    const indexes = [someIndex(), someIndex()] as const;
    const texts = [
      `docker.io/library/alpine-${run}:3.20`,
      `docker.io/library/alpine-${run}:latest`,
      `docker.io/library/alpine-${run}@${indexes[0].digest}`,
      `registry.example.test:5000/team/app-${run}:v1`,
      `localhost/team/app-${run}:v1`,
      `[2001:db8::1]:5000/team/app-${run}:v1`,
    ];
    for (const [i, text] of texts.entries()) {
      const reference = parseReference(text);
      const root = indexes[i % 2]!;
      await reach.catalog.writeLinks(reference.repository, [root], forever);
      await publishNow(reach, publicationOf(reference, i === 2 ? indexes[0] : root));
    }
    const resolvedOnly = parseReference(`registry.example.test/resolved-${run}:v1`);
    await reach.catalog.writeLinks(resolvedOnly.repository, [], forever);
    await using lock = await lockOf(reach, resolvedOnly);
    await resolveNow(reach, resolvedOnly, someDigest(), 1, lock);

    const listed: CachedReference[] = [];
    for await (const image of allImages(reach.catalog, forever)) {
      if (image.reference.repository.path.endsWith(run)) listed.push(image);
    }
    const key = (reference: Reference): string => formatReference(reference);
    assert.deepEqual(listed.map(({ reference }) => key(reference)).sort(), [...texts].sort());
    for (const { pointer, root, linked } of listed) {
      assert.equal(root?.digest, pointer.published);
      assert.equal(linked?.size, 4);
    }
    assert.deepEqual(listed.find(({ reference }) => reference.digest !== undefined)?.reference, {
      ...{ repository: parseReference(texts[0]!).repository, digest: indexes[0].digest },
    });
  });

  test('is read from any place on, in the order of names', async () => {
    await using reach = await table().reach();
    const run = randomUUID();
    const root = someIndex();
    const names = ['a', 'b', 'c'].map((name) => `order-${run}.example.test/${name}`);
    const tags = ['1', 'a', 'b'];
    for (const name of names) {
      for (const tag of [...tags].reverse()) {
        const reference = parseReference(`${name}:${tag}`);
        await reach.catalog.writeLinks(reference.repository, [root], forever);
        await publishNow(reach, publicationOf(reference, root));
      }
    }
    const [first, second, third] = names.map((name) => parseReference(name).repository);
    const before = { registry: `order-${run}.example.test`, path: '' };
    const after = async (place: Repository | undefined) => {
      const all = await Array.fromAsync(reach.catalog.repositories(place, forever));
      return all.filter(({ registry }) => registry === before.registry);
    };
    assert.deepEqual(await after(undefined), [first, second, third]);
    assert.deepEqual(await after(before), [first, second, third]);
    assert.deepEqual(await after(first), [second, third]);
    assert.deepEqual(await after(third), []);
    const pointersAfter = async (place: string | undefined) =>
      (await Array.fromAsync(reach.catalog.imagesOf(first!, place, forever))).map(({ reference }) => reference.tag);
    assert.deepEqual(await pointersAfter(undefined), tags);
    assert.deepEqual(await pointersAfter('1'), ['a', 'b']);
    assert.deepEqual(await pointersAfter('aa'), ['b']);
    assert.deepEqual(await pointersAfter('b'), []);
  });

  test('loses a tag by its removal, and nothing else', async () => {
    await using reach = await table().reach();
    const [reference, other] = [freshReference('v1'), freshReference('v2')];
    const root = someIndex();
    const both = { ...other, repository: reference.repository };
    await reach.catalog.writeLinks(reference.repository, [root], forever);
    for (const one of [reference, both]) await publishNow(reach, publicationOf(one, root));

    await using lock = await lockOf(reach, reference);
    await reach.catalog.removeTag(reference, lock, forever);
    await reach.catalog.removeTag(reference, lock, forever);
    const { pointer, ...nothing } = await found(reach, reference);
    assert.deepEqual(nothing, {});
    assert.deepEqual(Object.keys(pointer ?? {}).sort(), ['generation', 'removedMs']);
    const names = async () => Array.fromAsync(reach.catalog.tagsOf(reference.repository, undefined, forever));
    assert.deepEqual(await names(), ['v2']);
    const left = await found(reach, both);
    assert.equal(left.root?.digest, root.digest);
    assert.equal(left.linked?.size, 4);
    assert.equal((await reach.catalog.findLinks(reference.repository, [root.digest], forever)).size, 1);
  });

  test('a tag that was removed goes on with its generation, and its row expires only after every writer', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    for (const _ of [1, 2]) await publishNow(reach, publicationOf(reference, someIndex()));
    const lock = await lockOf(reach, reference);
    await reach.catalog.removeTag(reference, lock, forever);
    const expires = async () => (await table().row(tagKey(reference)))?.expiresSeconds as number | undefined;
    const removed = (await expires()) ?? 0;
    assert.ok(removed * 1000 > Date.now() + TOMBSTONE_MS + 60_000);
    await reach.catalog.recordMissing(reference, Date.now(), lock, forever);
    assert.equal(await expires(), removed, 'a name that is missing does not expire sooner');
    await lock.release();
    const { pointer } = await publishNow(reach, publicationOf(reference, someIndex()));
    assert.deepEqual([pointer?.generation, pointer?.removedMs, await expires()], [3, undefined, undefined]);
  });

  test('a name that has no row gets none by its removal', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    await using lock = await lockOf(reach, reference);
    await reach.catalog.removeTag(reference, lock, forever);
    assert.equal(await table().row(tagKey(reference)), undefined);
  });

  test('a record is confirmed for what is published, and for nothing else', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    const confirm = (generation: number) =>
      reach.catalog.confirmRecord(reference, { incarnation: 4, generation }, forever);
    await confirm(1);
    assert.equal(await table().row(tagKey(reference)), undefined);
    await publishNow(reach, publicationOf(reference, someIndex()));
    await confirm(2);
    assert.equal((await found(reach, reference)).pointer?.recorded, undefined);
    await confirm(1);
    const { pointer } = await found(reach, reference);
    assert.deepEqual([pointer?.recorded, pointer?.incarnation], [1, 4]);
    const next = await publishNow(reach, publicationOf(reference, someIndex(), { incarnation: 5 }));
    assert.notEqual(next.pointer?.recorded, next.pointer?.generation, 'what is published next is not recorded yet');
    assert.equal(next.pointer?.incarnation, 5);
  });

  test('what is published again from a record has its order, and is recorded', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    const { pointer } = await publishNow(
      reach,
      publicationOf(reference, someIndex(), { incarnation: 3, generation: 9 }),
    );
    assert.deepEqual([pointer?.incarnation, pointer?.generation, pointer?.recorded], [3, 9, 9]);
  });

  test('the incarnation of a table only grows, and is read once by each process', async () => {
    await using reach = await table().reach();
    const read = (fresh: boolean) => reach.catalog.readIncarnation({ fresh, signal: forever });
    assert.equal(await read(false), undefined);
    assert.equal(await reach.catalog.writeIncarnation(3, forever), 3);
    assert.equal(await reach.catalog.writeIncarnation(2, forever), 3);
    reach.proxy.log.length = 0;
    assert.equal(await read(false), 3);
    assert.equal(reach.proxy.log.length, 0);
    await using other = await table().reach();
    assert.equal(await other.catalog.writeIncarnation(5, forever), 5);
    assert.equal(await read(false), 3);
    assert.equal(await read(true), 5);
  });

  test('loses no tag to somebody whose lock is lost', async () => {
    await using reach = await table().reach();
    const reference = freshReference();
    await publishNow(reach, publicationOf(reference, someIndex()));
    const late = await lockOf(reach, reference);
    await late.release();
    await using _lock = await lockOf(reach, reference);
    await assert.rejects(reach.catalog.removeTag(reference, late, forever), LeaseLostError);
    assert.ok((await found(reach, reference)).pointer?.published !== undefined);
  });

  test('stops when its signal fires', async () => {
    await using reach = await table().reach();
    const reason = new Error('enough');
    const list = allImages(reach.catalog, AbortSignal.abort(reason));
    await assert.rejects(list[Symbol.asyncIterator]().next(), reason);
  });
}
