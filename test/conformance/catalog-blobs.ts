import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { BlobRecord, BlobRow } from '../../lib/catalog/catalog.ts';
import { blobKey, NOBODY } from '../../lib/table/keys.ts';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import type { Descriptor } from '../../lib/oci/descriptor.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { privateDomain, PUBLIC } from '../../lib/reference/trust-domain.ts';
import type { Checkpoint } from '../../lib/store/content-store.ts';
import { forever, onDynamo, operationsOf, type Reach, type TableUnderTest } from '../support/table-under-test.ts';
import { claimOf, recorded, some, someDigest, someStored } from './catalog-subject.ts';

const PRIVATE = privateDomain('registry.example.test', '1f3a');
/** As its copier would write it, that found no row when it took its claim. */
const recordOf = (content: Descriptor, stored = someStored(content.size)): BlobRecord => ({
  content,
  stored,
  domains: [PUBLIC],
  commit: undefined,
});
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

  const commitOf = async (blob: Descriptor): Promise<string | undefined> => (await blobOf(blob))?.commit;
  /** The row without the id of its last write. */
  const contentOf = async (blob: Descriptor) => {
    const row = await blobOf(blob);
    assert.ok(row?.commit !== undefined);
    const { commit: _, ...rest } = row;
    return rest;
  };

  test('recordBlob: present, with what the store says and a new commit each time; domains are added', async () => {
    const blob = some();
    const stored = await recorded(reach, blob, [PRIVATE], someStored(blob.size, 'AAAAAA=='));
    const { digest, size } = blob;
    const { etag } = stored;
    const row = { digest, state: 'present', size, etag, crc32: 'AAAAAA==', domains: new Set([PRIVATE]) };
    assert.deepEqual(await contentOf(blob), row);
    const first = await commitOf(blob);
    await recorded(reach, blob, [OTHER, PUBLIC], stored);
    assert.deepEqual(await contentOf(blob), { ...row, domains: new Set([PRIVATE, OTHER, PUBLIC]) });
    assert.notEqual(await commitOf(blob), first);
  });

  test('recordBlob of an object without CRC-32 forgets that of the one before, and needs no domain', async () => {
    const blob = some();
    await recorded(reach, blob, [PUBLIC], someStored(blob.size, 'AAAAAA=='));
    const { etag } = await recorded(reach, blob, []);
    const { digest, size } = blob;
    assert.deepEqual(await contentOf(blob), { digest, state: 'present', size, etag, domains: new Set([PUBLIC]) });
  });

  test('recordBlob on a row that was written since it was read changes nothing', async () => {
    const [unknown, known] = [some(), some()];
    await recorded(reach, known);
    const seen = await commitOf(known);
    await recorded(reach, unknown);
    await recorded(reach, known);
    for (const [content, commit] of [
      [unknown, undefined],
      [known, seen],
      [known, undefined],
      [some(), 'of a row that went'],
    ] as const) {
      const before = await table().row(blobKey(content.digest));
      const record = { content, stored: someStored(content.size), domains: [OTHER], commit };
      assert.equal(await reach.catalog.recordBlob(record, forever), false);
      assert.deepEqual(await table().row(blobKey(content.digest)), before);
    }
  });

  test('recordBlob whose answer was lost is a success', async () => {
    const blob = some();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    await recorded(reach, blob);
    assert.equal((await blobOf(blob))?.state, 'present');
  });

  test('commitBlob: present and the claim freed, in one write', async () => {
    const blob = some();
    const claim = await claimOf(reach, blob.digest);
    const stored = someStored(blob.size, 'AAAAAA==');
    reach.proxy.log.length = 0;
    await reach.catalog.commitBlob(claim, recordOf(blob, stored), forever);
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
    const late = reach.catalog.commitBlob(claim, recordOf(blob), forever);
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
      await reach.catalog.commitBlob(claim, recordOf(blob), forever);
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
    const { claim: _, ...row } = (await blobOf(blob))!;
    assert.deepEqual(row, { digest: blob.digest, state: 'absent', domains: new Set(), checkpoint });
    await reach.catalog.commitBlob(claim, recordOf(blob), forever);
    assert.equal((await blobOf(blob))?.checkpoint, undefined);
    await assert.rejects(reach.catalog.saveCheckpoint(claim, blob.digest, checkpoint, forever), LeaseLostError);
    assert.equal((await blobOf(blob))?.checkpoint, undefined);
  });

  test('the row that a claim found comes with it', async () => {
    const [fresh, known] = [some(), some()];
    await recorded(reach, known, [PRIVATE]);
    await using claim = await claimOf(reach, fresh.digest);
    await using other = await claimOf(reach, known.digest);
    const { claim: held, ...row } = reach.catalog.blobOf(claim);
    assert.deepEqual(row, { digest: fresh.digest, state: 'absent', domains: new Set() });
    assert.equal(held?.holder, claim.holder);
    const { state, domains, commit } = reach.catalog.blobOf(other);
    assert.deepEqual([state, domains, commit], ['present', new Set([PRIVATE]), await commitOf(known)]);
  });

  test('commitBlob on a row that was written since the claim gives that row, and changes nothing; the claim stays', async () => {
    for (const meanwhile of ['found lost', 'adopted'] as const) {
      const blob = some();
      await using claim = await claimOf(reach, blob.digest);
      if (meanwhile === 'adopted') await recorded(reach, blob, [OTHER]);
      else assert.deepEqual(await reach.catalog.recordLoss([(await blobOf(blob))!], forever), []);
      const before = await table().row(blobKey(blob.digest));
      const row = await reach.catalog.commitBlob(claim, recordOf(blob), forever);
      assert.deepEqual(await table().row(blobKey(blob.digest)), before);
      assert.deepEqual([row?.state, row?.commit], [meanwhile === 'adopted' ? 'present' : 'absent', before?.commit]);
      const again = { ...recordOf(blob), commit: row?.commit };
      assert.equal(await reach.catalog.commitBlob(claim, again, forever), undefined);
      assert.equal((await blobOf(blob))?.state, 'present');
    }
  });

  test('recordLoss: absent, without ETag and CRC-32; domains and size stay', async () => {
    const blob = some();
    await recorded(reach, blob, [PRIVATE], someStored(blob.size, 'AAAAAA=='));
    const seen = (await blobOf(blob))!;
    assert.deepEqual(await reach.catalog.recordLoss([seen], forever), []);
    const { digest, size } = blob;
    assert.deepEqual(await contentOf(blob), { digest, state: 'absent', size, domains: new Set([PRIVATE]) });
    assert.notEqual(await commitOf(blob), seen.commit);
    await recorded(reach, blob);
    assert.equal((await blobOf(blob))?.state, 'present');
  });

  test('recordLoss leaves alone what was written meanwhile, and names it; the others of the same call are lost', async () => {
    const blobs = [some(), some(), some()];
    for (const blob of blobs) await recorded(reach, blob);
    const rows = await Promise.all(blobs.map(async (blob) => (await blobOf(blob))!));
    const anew = await recorded(reach, blobs[1]!);
    assert.deepEqual(await reach.catalog.recordLoss(rows, forever), [blobs[1]!.digest]);
    const states = await Promise.all(blobs.map(async (blob) => (await blobOf(blob))?.state));
    assert.deepEqual(states, ['absent', 'present', 'absent']);
    assert.equal((await blobOf(blobs[1]!))?.etag, anew.etag);
  });

  test('recordLoss of a row that does not say present moves its commit, and no epoch', async () => {
    const [never, absent] = [some(), some()];
    await recorded(reach, absent);
    await reach.catalog.recordLoss([(await blobOf(absent))!], forever);
    const epoch = await reach.catalog.readEpoch(absent.digest, forever);
    const rows: BlobRow[] = [{ digest: never.digest, state: 'absent', domains: new Set() }, (await blobOf(absent))!];
    assert.deepEqual(await reach.catalog.recordLoss(rows, forever), []);
    assert.equal(await reach.catalog.readEpoch(absent.digest, forever), epoch);
    assert.equal(typeof (await commitOf(never)), 'string');
    assert.notEqual(await commitOf(absent), rows[1]!.commit);
    assert.deepEqual(await reach.catalog.recordLoss(rows, forever), [never.digest, absent.digest], 'by an older look');
  });

  test('recordLoss of 200 rows: in three transactions, and each moves the epoch of every root', async () => {
    const blobs = Array.from({ length: 200 }, () => some());
    await Promise.all(blobs.map((blob) => recorded(reach, blob)));
    const roots = Array.from({ length: 16 }, (_, i) => someDigest(i.toString(16)));
    const epochs = () => Promise.all(roots.map((root) => reach.catalog.readEpoch(root, forever)));
    const before = await epochs();
    const rows = await reach.catalog.findBlobs(
      blobs.map(({ digest }) => digest),
      forever,
    );
    reach.proxy.log.length = 0;
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }));
    assert.deepEqual(await reach.catalog.recordLoss([...rows.values()], forever), []);
    assert.equal(operationsOf(reach.proxy).length, 4, 'and one again, whose answer was lost');
    assert.deepEqual(
      await epochs(),
      before.map((epoch) => epoch + 3),
      'a lost answer is not written twice',
    );
  });

  test('findBlobs of 300 digests, with some twice and some absent', async () => {
    const blobs = Array.from({ length: 150 }, () => some());
    await Promise.all(blobs.map((blob) => recorded(reach, blob)));
    const there = blobs.map(({ digest }) => digest);
    const absent = Array.from({ length: 120 }, () => someDigest());
    const rows = await reach.catalog.findBlobs([...there, ...absent, ...there.slice(0, 30)], forever);
    assert.deepEqual(new Set(rows.keys()), new Set(there));
    assert.ok([...rows].every(([digest, row]) => row.digest === digest && row.state === 'present'));
    assert.deepEqual(await reach.catalog.findBlobs([], forever), new Map());
  });
}
