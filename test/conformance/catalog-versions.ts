import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { marshall } from '@aws-sdk/util-dynamodb';
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { blobKey, type Key, tagKey } from '../../lib/table/keys.ts';
import { CatalogError } from '../../lib/errors/cache-error.ts';
import { forever, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import { found, freshReference, publicationOf, publishNow, some, someDigest, someIndex } from './catalog-subject.ts';

/** Rows of another version of Entrepot are never taken for rows of this one. */
export function versions(table: () => TableUnderTest): void {
  let reach: Reach;
  beforeEach(async () => {
    reach = await table().reach();
  });
  afterEach(() => reach[Symbol.asyncDispose]());

  const put = (key: Key, row: Record<string, unknown>) =>
    reach.client.send(new PutItemCommand({ TableName: table().table, Item: marshall({ ...key, ...row }) }));
  const isRefusal = (advice: RegExp) => (error: unknown) => {
    assert.ok(error instanceof CatalogError);
    assert.equal(error.retryable, false);
    assert.match(error.message, advice);
    assert.match(error.message, /entrepot rebuild/);
    return true;
  };

  for (const [what, version, advice] of [
    ['0.1, whose rows carry no version', {}, /rebuild the table from the bucket/],
    ['a newer version', { v: 99 }, /a newer version of Entrepot wrote it/],
  ] as const) {
    test(`rows of ${what} are refused with what to do, and removed for a rebuild`, async () => {
      const reference = freshReference();
      const [kept, blob] = [freshReference(), some()];
      const root = someIndex();
      await publishNow(reach, publicationOf(kept, root));
      await put(tagKey(reference), { resolved: someDigest(), published: someDigest(), generation: 3, ...version });
      await put(blobKey(blob.digest), { state: 'present', size: 1, ...version });
      for (const consistent of [true, false])
        await assert.rejects(found(reach, reference, consistent), isRefusal(advice));
      await assert.rejects(reach.catalog.findBlobs([blob.digest], forever), isRefusal(advice));
      await assert.rejects(
        Array.fromAsync(reach.catalog.tagsOf(reference.repository, undefined, forever)),
        isRefusal(advice),
      );
      assert.equal(await reach.catalog.removeOtherVersions(forever), 2);
      assert.deepEqual(await found(reach, reference), {});
      assert.equal((await found(reach, kept)).root?.digest, root.digest);
      assert.equal(await reach.catalog.removeOtherVersions(forever), 0);
    });
  }
}
