import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { CachedReference } from '../../lib/catalog/catalog.ts';
import { formatReference, parseReference, type Reference } from '../../lib/reference/reference.ts';
import { forever, type TableUnderTest } from '../support/table-under-test.ts';
import { lockOf, publicationOf, publishNow, someDigest, someIndex } from './catalog-subject.ts';

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
    await reach.catalog.recordResolution(resolvedOnly, someDigest(), 1, lock, forever);

    const listed: CachedReference[] = [];
    for await (const image of reach.catalog.images(forever)) {
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

  test('stops when its signal fires', async () => {
    await using reach = await table().reach();
    const reason = new Error('enough');
    const list = reach.catalog.images(AbortSignal.abort(reason));
    await assert.rejects(list[Symbol.asyncIterator]().next(), reason);
  });
}
