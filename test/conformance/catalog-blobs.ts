import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { BlobRow } from '../../lib/catalog/catalog.ts';
import { blobKey, NOBODY } from '../../lib/catalog/keys.ts';
import { ContentSweptError, LeaseLostError } from '../../lib/errors/cache-error.ts';
import type { Descriptor } from '../../lib/oci/descriptor.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { privateDomain, PUBLIC } from '../../lib/reference/trust-domain.ts';
import type { Checkpoint } from '../../lib/store/content-store.ts';
import { forever, onDynamo, operationsOf, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import {
  claimOf,
  found,
  freshReference,
  lockOf,
  publicationOf,
  some,
  someDigest,
  someIndex,
  someStored,
} from './catalog-subject.ts';

const PRIVATE = privateDomain('registry.example.test', '1f3a');
const OTHER = privateDomain('other.example.test', 'beef');

export function blobRows(table: () => TableUnderTest): void {
  let reach: Reach;
  beforeEach(async () => {
    reach = await table().reach();
  });
  afterEach(() => reach[Symbol.asyncDispose]());

  const blobOf = async ({ digest }: Descriptor): Promise<BlobRow | undefined> =>
    (await reach.catalog.findBlobs([digest], forever)).get(digest);
  /** Somebody else has the claim now, and the holder does not know. */
  const takeOver = (digest: Digest, holder = 'another') =>
    table().change({
      key: blobKey(digest),
      update: 'SET holder = :other, generation = generation + :one',
      values: { ':other': holder, ':one': 1 },
    });

  test('recordBlob: present, with what the store says; domains are added', async () => {
    const blob = some();
    const stored = someStored(blob.size, 'AAAAAA==');
    await reach.catalog.recordBlob(blob, stored, [PRIVATE], forever);
    const { digest, size } = blob;
    const { etag } = stored;
    const row = { digest, state: 'present', size, etag, crc32: 'AAAAAA==', domains: new Set([PRIVATE]) };
    assert.deepEqual(await blobOf(blob), row);
    await reach.catalog.recordBlob(blob, stored, [OTHER, PUBLIC], forever);
    assert.deepEqual(await blobOf(blob), { ...row, domains: new Set([PRIVATE, OTHER, PUBLIC]) });
  });

  test('recordBlob of an object without CRC-32 forgets that of the one before, and needs no domain', async () => {
    const blob = some();
    await reach.catalog.recordBlob(blob, someStored(blob.size, 'AAAAAA=='), [PUBLIC], forever);
    const stored = someStored(blob.size);
    await reach.catalog.recordBlob(blob, stored, [], forever);
    const { digest, size } = blob;
    const { etag } = stored;
    assert.deepEqual(await blobOf(blob), { digest, state: 'present', size, etag, domains: new Set([PUBLIC]) });
  });

  test('commitBlob: present and the claim freed, in one write', async () => {
    const blob = some();
    const claim = await claimOf(reach, blob.digest);
    const stored = someStored(blob.size, 'AAAAAA==');
    reach.proxy.log.length = 0;
    await reach.catalog.commitBlob(claim, blob, stored, [PUBLIC], forever);
    await claim[Symbol.asyncDispose]();
    assert.deepEqual(operationsOf(reach.proxy), ['UpdateItem'], 'disposal has nothing left to send');
    const row = await table().row(blobKey(blob.digest));
    assert.deepEqual([row?.holder, row?.generation, row?.state], [NOBODY, 1, 'present']);
    assert.deepEqual((await blobOf(blob))?.domains, new Set([PUBLIC]));
    await using next = await claimOf(reach, blob.digest);
    assert.equal(next.generation, 2);
  });

  test('commitBlob by one whose claim was taken over changes nothing', async () => {
    const blob = some();
    await using claim = await claimOf(reach, blob.digest);
    await takeOver(blob.digest);
    const before = await table().row(blobKey(blob.digest));
    const late = reach.catalog.commitBlob(claim, blob, someStored(blob.size), [PUBLIC], forever);
    await assert.rejects(late, LeaseLostError);
    assert.deepEqual(await table().row(blobKey(blob.digest)), before);
    assert.equal((await blobOf(blob))?.state, 'absent');
  });

  test('commitBlob whose answer was lost is a success, also when the next one has the claim already', async () => {
    for (const successor of [false, true]) {
      const blob = some();
      const claim = await claimOf(reach, blob.digest);
      await claim.stopRenewing();
      if (successor) {
        // The next one comes between the write and its retry.
        const until = takeOverWhen(
          async () => (await table().row(blobKey(blob.digest)))?.holder === NOBODY,
          blob.digest,
        );
        reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
        reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'hold', until }));
      } else reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
      await reach.catalog.commitBlob(claim, blob, someStored(blob.size), [PUBLIC], forever);
      assert.equal((await blobOf(blob))?.state, 'present');
      const holder = (await table().row(blobKey(blob.digest)))?.holder;
      assert.equal(holder, successor ? 'the next' : NOBODY);
      reach.proxy.rules.length = 0;
    }
  });

  const takeOverWhen = async (condition: () => Promise<boolean>, digest: Digest): Promise<void> => {
    for (let look = 0; look < 400 && !(await condition()); look++);
    await takeOver(digest, 'the next');
  };

  test('saveCheckpoint keeps it, fenced; commit and recordBlob clear it', async () => {
    const checkpoint: Checkpoint = {
      domain: PUBLIC,
      ...{ uploadId: 'upload', startedMs: 1, partBytes: 8, partsDone: 2, crc32: 'AAAAAA==', hashState: 'c3RhdGU=' },
    };
    const blob = some();
    const claim = await claimOf(reach, blob.digest);
    await reach.catalog.saveCheckpoint(claim, blob.digest, checkpoint, forever);
    assert.deepEqual(await blobOf(blob), {
      ...{ digest: blob.digest, state: 'absent', domains: new Set(), checkpoint },
    });
    await reach.catalog.commitBlob(claim, blob, someStored(blob.size), [PUBLIC], forever);
    assert.equal((await blobOf(blob))?.checkpoint, undefined);
    await assert.rejects(reach.catalog.saveCheckpoint(claim, blob.digest, checkpoint, forever), LeaseLostError);
    assert.equal((await blobOf(blob))?.checkpoint, undefined);
  });

  test('markBlobLost: absent, without ETag, domains kept; what was distrusted is remembered until it is replaced', async () => {
    const blob = some();
    await reach.catalog.recordBlob(blob, someStored(blob.size, 'AAAAAA=='), [PRIVATE], forever);
    assert.equal(await reach.catalog.markBlobLost((await blobOf(blob))!, '"wrong"', forever), true);
    const { digest, size } = blob;
    const lost = { digest, state: 'absent', size, distrustedEtag: '"wrong"', domains: new Set([PRIVATE]) };
    assert.deepEqual(await blobOf(blob), lost);
    assert.equal(await reach.catalog.markBlobLost((await blobOf(blob))!, undefined, forever), true, 'again');
    await reach.catalog.recordBlob(blob, someStored(blob.size), [PRIVATE], forever);
    const healed = await blobOf(blob);
    assert.deepEqual([healed?.state, healed?.distrustedEtag], ['present', undefined]);
  });

  test('markBlobLost leaves alone what was written anew meanwhile', async () => {
    const blob = some();
    await reach.catalog.recordBlob(blob, someStored(blob.size), [PUBLIC], forever);
    const seen = (await blobOf(blob))!;
    const anew = someStored(blob.size);
    await reach.catalog.recordBlob(blob, anew, [PUBLIC], forever);
    const epoch = await reach.catalog.readEpoch(forever);
    assert.equal(await reach.catalog.markBlobLost(seen, '"wrong"', forever), false);
    assert.deepEqual([(await blobOf(blob))?.state, (await blobOf(blob))?.etag], ['present', anew.etag]);
    assert.equal(await reach.catalog.readEpoch(forever), epoch);
    const neverSeen: BlobRow = { digest: blob.digest, state: 'absent', domains: new Set() };
    assert.equal(await reach.catalog.markBlobLost(neverSeen, undefined, forever), false);
  });

  test('markBlobLost ends the epoch: who counted the blob as present can no longer publish (I2)', async () => {
    const reference = freshReference();
    const blob = some();
    await reach.catalog.recordBlob(blob, someStored(blob.size), [PUBLIC], forever);
    const epoch = await reach.catalog.readEpoch(forever);
    await using lock = await lockOf(reach, reference);
    const seen = (await blobOf(blob))!;
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }));
    assert.equal(await reach.catalog.markBlobLost(seen, undefined, forever), true);
    assert.equal(await reach.catalog.readEpoch(forever), epoch + 1, 'a lost answer is not written twice');
    const publication = publicationOf(reference, someIndex(), { epoch });
    await assert.rejects(reach.catalog.publish(publication, lock, forever), ContentSweptError);
    assert.deepEqual(await found(reach, reference), {});
  });

  test('findBlobs of 300 digests, with some twice and some absent', async () => {
    const blobs = Array.from({ length: 150 }, () => some());
    const stored = someStored(1_000);
    await Promise.all(blobs.map((blob) => reach.catalog.recordBlob(blob, stored, [PUBLIC], forever)));
    const there = blobs.map(({ digest }) => digest);
    const absent = Array.from({ length: 120 }, someDigest);
    const rows = await reach.catalog.findBlobs([...there, ...absent, ...there.slice(0, 30)], forever);
    assert.deepEqual(new Set(rows.keys()), new Set(there));
    assert.ok([...rows].every(([digest, row]) => row.digest === digest && row.state === 'present'));
    assert.deepEqual(await reach.catalog.findBlobs([], forever), new Map());
  });
}
