import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { digestOf } from '../../lib/oci/digest.ts';
import { pullLeaseName } from '../../lib/table/keys.ts';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import { acquire } from '../../lib/lock/lease.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { resolveNow } from './catalog-subject.ts';
import { forever, type TableUnderTest } from '../support/table-under-test.ts';
import { recorded } from './catalog-subject.ts';

const digest = (): ReturnType<typeof digestOf> => digestOf(Buffer.from(randomUUID()));
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** What serving reads and writes. */
export function catalogServe(table: () => TableUnderTest): void {
  test('findContent: link and blob in one request, each only where it is', async () => {
    await using reach = await table().reach();
    const { catalog } = reach;
    const { repository } = parseReference(`registry.example.test/${randomUUID()}:v1`);
    const content = { mediaType: MANIFEST, digest: digest(), size: 7 };
    const find = (consistent: boolean) =>
      catalog.findContent(repository, content.digest, { consistent, signal: forever });
    assert.deepEqual(await find(true), {});
    await catalog.linkEarly(repository, { ...content, via: 'v1' }, forever);
    assert.deepEqual(await find(true), { link: { ...content, via: 'v1' } });
    await recorded(reach, content, []);
    const found = await find(false);
    assert.deepEqual([found.link?.digest, found.blob?.state, found.blob?.size], [content.digest, 'present', 7]);
    assert.equal(
      (
        await catalog.findContent(parseReference('alpine').repository, content.digest, {
          consistent: true,
          signal: forever,
        })
      ).link,
      undefined,
    );
  });

  test('linkEarly takes nothing back of what a publish said', async () => {
    await using reach = await table().reach();
    const { catalog } = reach;
    const { repository } = parseReference(`registry.example.test/${randomUUID()}:v1`);
    const content = { mediaType: MANIFEST, digest: digest(), size: 7 };
    const published = { ...content, landed: true, neededBy: digest() };
    await catalog.writeLinks(repository, [published], forever);
    await catalog.linkEarly(repository, content, forever);
    const links = await catalog.findLinks(repository, [content.digest], forever);
    assert.deepEqual(links.get(content.digest), published);
  });

  test('recordMissing: under the lock; published stays, and the next resolution takes it back', async () => {
    await using reach = await table().reach();
    const { catalog } = reach;
    const leases = reach.leases(15_000);
    const reference = parseReference(`registry.example.test/${randomUUID()}:v1`);
    const lock = await acquire(leases, pullLeaseName(reference), forever);
    const pointer = () => catalog.findPointer(reference, { consistent: true, signal: forever });
    assert.equal(await pointer(), undefined);
    const first = digest();
    await resolveNow(reach, reference, first, 1_000, lock);
    await catalog.recordMissing(reference, 2_000, lock, forever);
    const meant = { resolved: first, resolvedBy: lock.holder, generation: 0 };
    assert.deepEqual(await pointer(), { ...meant, checkedMs: 1_000, resolutions: 1, missingMs: 2_000 });
    await resolveNow(reach, reference, first, 3_000, lock);
    assert.deepEqual(await pointer(), { ...meant, checkedMs: 3_000, resolutions: 2 });
    await lock.release();
    await assert.rejects(catalog.recordMissing(reference, 4_000, lock, forever), LeaseLostError);
    assert.equal((await pointer())?.missingMs, undefined);
  });

  test('a tag changes under its own lock alone, whatever the fence is called', async () => {
    await using reach = await table().reach();
    const { catalog } = reach;
    const [mine, other] = ['v1', 'v2'].map((tag) => parseReference(`registry.example.test/${randomUUID()}:${tag}`));
    assert.ok(mine !== undefined && other !== undefined);
    await using lock = await acquire(reach.leases(15_000), pullLeaseName(mine), forever);
    for (const fence of [lock, { ...lock, name: pullLeaseName(other) }]) {
      const resolution = { resolved: digest(), checkedMs: 1_000, pointer: undefined };
      await assert.rejects(catalog.recordResolution(other, resolution, fence, forever), LeaseLostError);
      await assert.rejects(catalog.recordMissing(other, 1_000, fence, forever), LeaseLostError);
      await assert.rejects(catalog.removeTag(other, fence, forever), LeaseLostError);
    }
    assert.equal(await catalog.findPointer(other, { consistent: true, signal: forever }), undefined);
  });

  test('tagsOf: tags that mean something, in order, after one; no digests, and nothing else that has a row there', async () => {
    await using reach = await table().reach();
    const { catalog } = reach;
    const leases = reach.leases(15_000);
    const name = `registry.example.test/${randomUUID()}`;
    const { repository } = parseReference(name);
    const pointers = ['v10', 'v2', 'A', '9', `referrers:${digest()}`].map((tag) => ({ repository, tag }));
    for (const reference of [...pointers, { repository, digest: digest() }]) {
      const lock = await acquire(leases, pullLeaseName(reference), forever);
      await resolveNow(reach, reference, digest(), 1_000, lock);
      await lock.release();
    }
    const missing = { repository, tag: 'gone' };
    const lock = await acquire(leases, pullLeaseName(missing), forever);
    await catalog.recordMissing(missing, 1_000, lock, forever);
    await lock.release();
    assert.deepEqual(await Array.fromAsync(catalog.tagsOf(repository, undefined, forever)), ['9', 'A', 'v10', 'v2']);
    assert.deepEqual(await Array.fromAsync(catalog.tagsOf(repository, 'A', forever)), ['v10', 'v2']);
    for (const [prefix, count] of [
      ['v', 2],
      ['v1', 1],
      ['v10', 1],
      ['v100', 0],
      ['a', 0],
      ['z', 0],
    ] as const) {
      const found = await catalog.findTagsWith(repository, prefix, forever);
      assert.equal(found.length, count, prefix);
      for (const { checkedMs } of found) assert.equal(checkedMs, 1_000);
    }
  });
}
