import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import { activeKey, pullKey } from '../../lib/table/keys.ts';
import { type PullRecord, type PullRecords, requestKey } from '../../lib/jobs/pull-record.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import type { PullRequest } from '../../lib/pull/pull-request.ts';
import { forever, tableOn, type DynamoEndpoint, type TableUnderTest } from '../support/table-under-test.ts';
import { pullRecordsFaults } from './pull-records-faults.ts';
import { amount, DENIED, fenceOf, freshRequest, receiptOf, recordsAt, requestOf } from './pull-records-subject.ts';

const DAY_SECONDS = 86_400;

/** What every implementation of the records of pulls must do; `make` starts a server of its own for the suite. */
export function pullRecordsSuite(name: string, make: () => Promise<DynamoEndpoint>): void {
  describe(`records of pulls on ${name}`, { timeout: 300_000 }, () => {
    let table: TableUnderTest;
    before(async () => {
      table = await tableOn(await make());
    });
    after(() => table[Symbol.asyncDispose]());
    describe('joined', () => joins(() => table));
    describe('from the plan to the end', () => lives(() => table));
    describe('with faults', () => pullRecordsFaults(() => table));
  });
}

async function created(records: PullRecords, request: PullRequest): Promise<PullRecord> {
  const { record, created: isNew } = await records.join(request, forever);
  assert.ok(isNew, 'the pull was joined, not created');
  return record;
}

function joins(table: () => TableUnderTest): void {
  test('the first creates a queued pull, whoever comes next joins it', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = requestOf(`registry.example.test/${randomUUID()}:v1`, ['linux/arm64/v8', 'linux/amd64']);
    const beforeMs = Date.now();
    const record = await created(records, { ...request, alwaysPull: true });
    assert.match(record.id, /^[0-9a-f-]{36}$/);
    assert.deepEqual(record, {
      id: record.id,
      request: { ...request, alwaysPull: true },
      state: 'queued',
      createdMs: record.createdMs,
      askedMs: record.createdMs,
      updatedMs: record.createdMs,
      plans: 0,
      copied: amount(0, 0),
    });
    assert.ok(record.createdMs >= beforeMs && record.createdMs <= Date.now());
    assert.deepEqual(await records.find(record.id, forever), record);
    const joined = await records.join({ ...request, alwaysPull: true }, forever);
    assert.deepEqual(joined, { record: { ...record, askedMs: joined.record.askedMs }, created: false });
    assert.ok(joined.record.askedMs >= record.askedMs);
    const { expiresSeconds } = (await table().row(pullKey(record.id)))!;
    assert.equal(expiresSeconds, Math.ceil(record.createdMs / 1000) + 30 * DAY_SECONDS);
  });

  test('one that failed is known for its request until another is made', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    assert.equal(await records.findFailed(request, forever), undefined);
    const first = await created(records, request);
    assert.equal(await records.findFailed(request, forever), undefined);
    const failed = await records.fail(first.id, DENIED, forever);
    assert.deepEqual(await records.findFailed(request, forever), failed);
    assert.equal(await records.findFailed({ ...request, alwaysPull: true }, forever), undefined);
    const second = await created(records, request);
    assert.equal(await records.findFailed(request, forever), undefined);
    await records.succeed(second.id, receiptOf(request), forever);
    assert.equal(await records.findFailed(request, forever), undefined);
  });

  test('16 racers make one pull of it', async () => {
    await using reach = await table().reach();
    await using other = await table().reach();
    const ways = [recordsAt(table(), reach), recordsAt(table(), other)];
    const request = freshRequest();
    const all = await Promise.all(Array.from({ length: 16 }, (_, racer) => ways[racer % 2]!.join(request, forever)));
    assert.equal(new Set(all.map(({ record }) => record.id)).size, 1);
    assert.equal(all.filter((one) => one.created).length, 1);
  });

  test('what means the same is joined, what does not is not', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const name = `registry.example.test/${randomUUID()}`;
    const base = requestOf(`${name}:v1`, ['linux/amd64', 'linux/arm64']);
    const { id } = await created(records, base);
    const same = requestOf(`${name}:v1`, ['linux/aarch64', 'linux/amd64', 'linux/x86_64']);
    assert.equal((await records.join(same, forever)).record.id, id);
    const others = [
      requestOf(`${name}:v2`, ['linux/amd64', 'linux/arm64']),
      requestOf(`${name}:v1`, ['linux/amd64']),
      requestOf(`${name}:v1`, ['linux/amd64', 'linux/arm64/v8']),
      requestOf(`${name}:v1`),
      { ...base, alwaysPull: true },
      { ...base, attestations: false },
    ];
    const ids = new Set([id]);
    for (const other of others) ids.add((await created(records, other)).id);
    assert.equal(ids.size, others.length + 1);
  });

  test('alwaysPull: one that has begun may have asked the registry before, and is not joined; it ends by itself', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = { ...freshRequest(), alwaysPull: true };
    const first = await created(records, request);
    await records.begin(first.id, fenceOf(first.id), forever);
    const racers = await Promise.all(Array.from({ length: 8 }, () => records.join(request, forever)));
    assert.equal(racers.filter((one) => one.created).length, 1);
    const second = racers[0]!.record;
    assert.ok(racers.every(({ record }) => record.id === second.id && record.id !== first.id));
    assert.equal((await records.succeed(first.id, receiptOf(request), forever)).state, 'succeeded');
    // The end of the first leaves the second where it is found.
    assert.equal((await records.join(request, forever)).record.id, second.id);
    await records.begin(second.id, fenceOf(second.id), forever);
    assert.notEqual((await records.join(request, forever)).record.id, second.id);
  });

  test('an ended pull is never joined: the next one asks anew', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const failed = await created(records, request);
    await records.fail(failed.id, DENIED, forever);
    const second = await created(records, request);
    assert.notEqual(second.id, failed.id);
    await records.succeed(second.id, receiptOf(request), forever);
    const third = await created(records, request);
    assert.equal(new Set([failed.id, second.id, third.id]).size, 3);
    // The end of an older one does not free the newer.
    await records.fail(failed.id, DENIED, forever);
    assert.equal((await records.join(request, forever)).record.id, third.id);
  });

  test('a pull that ended without freeing its request, or has expired, blocks nobody', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    for (const change of ['SET #column = :state', 'SET #column = :past']) {
      const request = freshRequest();
      const dead = await created(records, request);
      const [column, value] = change.includes(':state') ? ['state', 'failed'] : ['expiresSeconds', 1];
      const values = { [change.includes(':state') ? ':state' : ':past']: value };
      await table().change({ key: pullKey(dead.id), update: change, names: { '#column': column }, values });
      const all = await Promise.all(Array.from({ length: 8 }, () => records.join(request, forever)));
      assert.equal(all.filter((one) => one.created).length, 1);
      assert.ok(all.every(({ record }) => record.id !== dead.id && record.id === all[0]!.record.id));
    }
  });
}

function lives(table: () => TableUnderTest): void {
  test('begins, plans, goes on and succeeds', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const { id, createdMs } = await created(records, request);
    const lock = fenceOf(id);
    const begun = await records.begin(id, lock, forever);
    assert.partialDeepStrictEqual(begun, { state: 'running', plans: 1, lock, copied: amount(0, 0) });
    assert.ok(begun!.startedMs! >= createdMs);

    const planned = { total: amount(5, 500), missing: amount(3, 300) };
    await records.planned(id, planned, forever);
    await records.progressed(id, 0, amount(1, 100), forever);
    await records.progressed(id, 1, amount(1, 50), forever);
    await records.progressed(id, 1, amount(1, 60), forever);
    const running = await records.find(id, forever);
    assert.partialDeepStrictEqual(running, { planned, copied: amount(2, 160) });
    assert.ok(running!.plannedMs! >= begun!.startedMs! && running!.updatedMs >= running!.plannedMs!);

    const receipt = receiptOf(request);
    const ended = await records.succeed(id, receipt, forever);
    assert.partialDeepStrictEqual(ended, { state: 'succeeded', receipt, planned, lock });
    assert.deepEqual(await records.find(id, forever), ended);
    assert.equal(ended.failure, undefined);
    const { expiresSeconds } = (await table().row(pullKey(id)))!;
    assert.equal(expiresSeconds, Math.ceil(ended.endedMs! / 1000) + 7 * DAY_SECONDS);
    assert.equal((await table().row(activeKey(requestKey(request))))?.pullId, undefined);
  });

  test('a second plan forgets the progress of the first, and keeps its start', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const { id } = await created(records, freshRequest());
    const first = await records.begin(id, fenceOf(id), forever);
    await records.planned(id, { total: amount(2, 2), missing: amount(2, 2) }, forever);
    await records.progressed(id, 0, amount(1, 1), forever);
    const lock = fenceOf(id);
    const second = await records.begin(id, lock, forever);
    assert.partialDeepStrictEqual(second, { plans: 2, lock, copied: amount(0, 0), startedMs: first!.startedMs! });
    assert.equal(second!.planned, undefined);
    assert.equal(second!.plannedMs, undefined);
  });

  test('a plan that comes late is refused, and changes nothing', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const { id } = await created(records, freshRequest());
    const early = fenceOf(id);
    const lock = { ...fenceOf(id), generation: early.generation + 1 };
    await records.begin(id, lock, forever);
    await assert.rejects(records.begin(id, early, forever), LeaseLostError);
    assert.partialDeepStrictEqual(await records.find(id, forever), { plans: 1, lock });
  });

  test('the first end stands, however often and however it is ended again', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const { id } = await created(records, request);
    const ends = await Promise.all([
      records.fail(id, DENIED, forever),
      records.succeed(id, receiptOf(request), forever),
      records.fail(id, { ...DENIED, message: 'another' }, forever),
      records.succeed(id, receiptOf(request), forever),
    ]);
    for (const end of ends) assert.deepEqual(end, ends[0]);
    assert.deepEqual(await records.fail(id, DENIED, forever), ends[0]);
  });

  test('after the end nothing changes it: no plan, no progress', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const { id } = await created(records, freshRequest());
    const ended = await records.fail(id, DENIED, forever);
    assert.deepEqual(ended.failure, DENIED);
    assert.equal(await records.begin(id, fenceOf(id), forever), undefined);
    await records.planned(id, { total: amount(2, 2), missing: amount(2, 2) }, forever);
    await records.progressed(id, 0, amount(1, 1), forever);
    assert.deepEqual(await records.find(id, forever), ended);
  });

  test('what was never there is unknown, and is not brought to life', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const id = randomUUID();
    for (const unknown of [id, 'nobody', '', 'x'.repeat(5_000)]) {
      assert.equal(await records.find(unknown, forever), undefined);
    }
    assert.equal(await records.begin(id, fenceOf(id), forever), undefined);
    await records.progressed(id, 0, amount(1, 1), forever);
    await assert.rejects(records.fail(id, DENIED, forever), { name: 'CatalogError', retryable: false });
    assert.equal(await table().row(pullKey(id)), undefined);
  });

  test('a pull that has expired is gone, although its row is still there', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const { id } = await created(records, freshRequest());
    await table().change({ key: pullKey(id), update: 'SET expiresSeconds = :past', values: { ':past': 1 } });
    assert.equal(await records.find(id, forever), undefined);
  });

  test('a row holds 200 batches and the largest receipts and messages', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const { id } = await created(records, request);
    await records.begin(id, fenceOf(id), forever);
    for (let batch = 0; batch < 200; batch++) await records.progressed(id, batch, amount(5, 2 ** 40), forever);
    assert.deepEqual((await records.find(id, forever))!.copied, amount(1_000, 200 * 2 ** 40));
    const platforms = Array.from({ length: 1_000 }, (_, n) => ({
      platform: `linux/arch${n}`,
      digest: digestOf(randomBytes(8)),
      complete: true,
    }));
    const receipt = receiptOf(request, { platforms });
    assert.deepEqual((await records.succeed(id, receipt, forever)).receipt, receipt);

    const next = await created(records, request);
    const failed = await records.fail(next.id, { ...DENIED, message: 'é'.repeat(500_000) }, forever);
    assert.equal(failed.failure!.message, 'é'.repeat(4_000));

    const last = await created(records, request);
    const skipped = Array.from({ length: 40_000 }, () => ({
      digest: digestOf(randomBytes(8)),
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      size: 1,
      reason: 'foreign',
    }));
    const shortened = (await records.succeed(last.id, receiptOf(request, { skipped }), forever)).receipt!;
    assert.ok(shortened.skipped.length > 1_000 && shortened.skipped.length < skipped.length);
  });
}
