import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CatalogError } from '../../lib/errors/cache-error.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import {
  allUnprocessed,
  dynamoError,
  forever,
  onDynamo,
  operationsOf,
  type Reach,
  type TableUnderTest,
} from '../support/table-under-test.ts';
import { freshReference, MANIFEST_TYPE, some, someDigest } from './catalog-subject.ts';

export function links(table: () => TableUnderTest): void {
  const count = ({ proxy }: Reach, operation: string): number =>
    operationsOf(proxy).filter((one) => one === operation).length;

  test('300 links, some twice: written in batches, found again, by their repository alone', async () => {
    await using reach = await table().reach();
    const [here, elsewhere] = [freshReference().repository, freshReference().repository];
    const links = Array.from({ length: 300 }, (_, i) => some(i % 2 === 0 ? MANIFEST_TYPE : undefined, i));
    await reach.catalog.writeLinks(here, [...links, ...links.slice(0, 50)], forever);
    assert.equal(count(reach, 'BatchWriteItem'), 13, 'batches of 25 hold 300 links and the repository');
    await reach.catalog.writeLinks(here, links.slice(0, 10), forever);
    const digests = links.map(({ digest }) => digest);
    const found = await reach.catalog.findLinks(here, [...digests, ...digests, someDigest()], forever);
    assert.equal(count(reach, 'BatchGetItem'), 4);
    assert.deepEqual(new Map(found), new Map(links.map((link) => [link.digest, link])));
    assert.equal((await reach.catalog.findLinks(elsewhere, digests, forever)).size, 0);
    assert.equal((await reach.catalog.findLinks(here, [], forever)).size, 0);
  });

  test('what needs a digest: in its repository alone, whether or not that may serve it; one read', async () => {
    await using reach = await table().reach();
    const [here, elsewhere] = [freshReference().repository, freshReference().repository];
    const needed = Array.from({ length: 60 }, () => someDigest());
    const [first, second, published] = [someDigest(), someDigest(), someDigest()];
    const neededBy = (digest: Digest, repository = here) => reach.catalog.findNeededBy(repository, digest, forever);
    await reach.catalog.writeNeeds(here, [...needed, ...needed], first, forever);
    assert.equal(count(reach, 'BatchWriteItem'), 3, 'in batches of 25, each once');
    const [digest] = needed as [Digest, ...Digest[]];
    assert.deepEqual(await neededBy(digest), [first]);
    assert.deepEqual(await neededBy(digest, elsewhere), []);
    assert.deepEqual(await neededBy(someDigest()), []);
    assert.equal((await reach.catalog.findLinks(here, needed, forever)).size, 0, 'that is no right to serve it (I9)');
    const content = await reach.catalog.findContent(here, digest, { consistent: true, signal: forever });
    assert.deepEqual(content, {});
    await reach.catalog.writeNeeds(here, [digest], second, forever);
    assert.deepEqual(await neededBy(digest), [second], 'the last one');
    const link = { ...some(), digest, neededBy: published };
    await reach.catalog.writeLinks(here, [link], forever);
    assert.deepEqual(new Set(await neededBy(digest)), new Set([second, published]));
    assert.deepEqual((await reach.catalog.findLinks(here, [digest], forever)).get(digest), link);
    await reach.catalog.writeNeeds(here, [digest], published, forever);
    reach.proxy.log.length = 0;
    assert.deepEqual(await neededBy(digest), [published]);
    assert.deepEqual(operationsOf(reach.proxy), ['BatchGetItem']);
    await reach.catalog.writeNeeds(here, [], first, forever);
  });

  test('what a batch left undone is done in the next round', async () => {
    await using reach = await table().reach();
    const { repository } = freshReference();
    const links = Array.from({ length: 60 }, () => some());
    const digests = links.map(({ digest }) => digest);
    reach.proxy.rules.push(onDynamo('BatchWriteItem', allUnprocessed, 3));
    await reach.catalog.writeLinks(repository, links, forever);
    reach.proxy.rules.push(onDynamo('BatchGetItem', allUnprocessed, 2));
    assert.equal((await reach.catalog.findLinks(repository, digests, forever)).size, 60);
    assert.equal(count(reach, 'BatchWriteItem'), 6);
    assert.equal(count(reach, 'BatchGetItem'), 3);
  });

  test('a batch that is never done is an error, not an absence', async () => {
    await using reach = await table().reach();
    const { repository } = freshReference();
    reach.proxy.rules.push(onDynamo('BatchGetItem', allUnprocessed, Infinity));
    await assert.rejects(reach.catalog.findLinks(repository, [someDigest()], forever), (error: unknown) => {
      assert.ok(error instanceof CatalogError);
      assert.equal(error.retryable, true);
      assert.match(error.message, /left 1 rows unprocessed after 10 rounds/);
      return true;
    });
  });

  test('one failed batch of many fails the call, after the others have settled', async () => {
    await using reach = await table().reach();
    const digests = Array.from({ length: 300 }, () => someDigest());
    reach.proxy.rules.push(onDynamo('BatchGetItem', dynamoError('AccessDeniedException')));
    reach.proxy.rules.push(onDynamo('BatchGetItem', { kind: 'delay', delayMs: 100 }, 2));
    await assert.rejects(reach.catalog.findBlobs(digests, forever), CatalogError);
    assert.ok(
      reach.proxy.log.every(({ status }) => status !== undefined),
      'nothing is under way any more',
    );
  });

  test('an abort is the reason of the signal, not an error of the catalogue', async () => {
    await using reach = await table().reach();
    const reason = new Error('the caller went away');
    const stop = new AbortController();
    reach.proxy.rules.push(onDynamo('GetItem', { kind: 'delay', delayMs: 5_000 }));
    setTimeout(() => stop.abort(reason), 50);
    const look = reach.catalog.find(freshReference(), { consistent: true, signal: stop.signal });
    await assert.rejects(look, reason);
    const digests = Array.from({ length: 300 }, () => someDigest());
    await assert.rejects(reach.catalog.findBlobs(digests, stop.signal), reason);
  });
}
