import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { activeKey, pullKey } from '../../lib/table/keys.ts';
import { CatalogError } from '../../lib/errors/cache-error.ts';
import { requestKey } from '../../lib/jobs/pull-record.ts';
import { dynamoError, forever, onDynamo, operationsOf, type TableUnderTest } from '../support/table-under-test.ts';
import { amount, DENIED, fenceOf, freshRequest, receiptOf, recordsAt } from './pull-records-subject.ts';

/** What records must do when requests and answers are lost, late or refused. */
export function pullRecordsFaults(table: () => TableUnderTest): void {
  test('lost answers do not make two pulls of one request', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }));
    const { record, created } = await records.join(request, forever);
    assert.equal(created, true);
    assert.equal((await table().row(activeKey(requestKey(request))))?.pullId, record.id);
    assert.deepEqual(await records.join(request, forever), { record, created: false });
  });

  test('a creation whose answer was lost, and that was told to have failed, is still ours', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const refused = dynamoError('TransactionCanceledException', {
      Message: 'injected',
      CancellationReasons: [{ Code: 'ConditionalCheckFailed' }, { Code: 'ConditionalCheckFailed' }],
    });
    reach.proxy.rules.push(
      onDynamo('TransactWriteItems', { kind: 'lose-answer' }),
      onDynamo('TransactWriteItems', refused),
    );
    const { record, created } = await records.join(request, forever);
    assert.equal(created, true);
    assert.deepEqual(await records.find(record.id, forever), record);
    assert.deepEqual(operationsOf(reach.proxy).slice(0, 4), [
      'GetItem',
      'TransactWriteItems',
      'TransactWriteItems',
      'GetItem',
    ]);
  });

  test('a creation whose answer was lost is the answer, also where the pull ended before we looked', async () => {
    await using reach = await table().reach();
    await using another = await table().reach();
    const others = recordsAt(table(), another);
    const request = freshRequest();
    const reasons = [{ Code: 'ConditionalCheckFailed' }, { Code: 'ConditionalCheckFailed' }];
    const refused = dynamoError('TransactionCanceledException', { CancellationReasons: reasons });
    const { promise: isOver, resolve: over } = Promise.withResolvers<undefined>();
    reach.proxy.rules.push(
      onDynamo('TransactWriteItems', { kind: 'lose-answer' }),
      onDynamo('TransactWriteItems', refused),
      onDynamo('GetItem', { kind: 'hold', until: isOver }, 1, 1),
    );
    const joining = recordsAt(table(), reach).join(request, forever);
    const isHeld = (): boolean => reach.proxy.log.some(({ fault }) => fault === 'hold');
    for (let look = 0; !isHeld() && look < 500; look++) await sleep(5);
    const { record: standing } = await others.join(request, forever);
    await others.fail(standing.id, DENIED, forever);
    over(undefined);
    const { record, created } = await joining;
    assert.deepEqual([record.id, record.failure, created], [standing.id, DENIED, true]);
  });

  test('a creation that met another transaction is tried again', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const conflict = dynamoError('TransactionCanceledException', {
      CancellationReasons: [{ Code: 'TransactionConflict' }, { Code: 'None' }],
    });
    reach.proxy.rules.push(onDynamo('TransactWriteItems', conflict, 2));
    assert.equal((await records.join(freshRequest(), forever)).created, true);
  });

  test('lost answers to the plan, to progress and to the end change nothing', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const { id } = (await records.join(request, forever)).record;
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    assert.equal((await records.begin(id, fenceOf(id), forever))?.state, 'running');
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    await records.progressed(id, 0, amount(1, 10), forever);
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }));
    const ended = await records.succeed(id, receiptOf(request), forever);
    assert.deepEqual([ended.state, ended.copied], ['succeeded', amount(1, 10)]);
    assert.equal((await records.join(request, forever)).created, true);
  });

  test('a pull that has no active row any more ends all the same', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const { id } = (await records.join(request, forever)).record;
    const key = activeKey(requestKey(request));
    await table().change({ key, update: 'SET pullId = :other', values: { ':other': 'another' } });
    assert.equal((await records.fail(id, DENIED, forever)).state, 'failed');
    assert.equal((await table().row(key))?.pullId, 'another');
  });

  test('an abort is its own reason, and what was created is joined by the next caller', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    const request = freshRequest();
    const reason = new Error('the caller went away');
    const aborted = new AbortController();
    reach.proxy.rules.push(onDynamo('TransactWriteItems', { kind: 'lose-answer' }, Infinity));
    const joining = records.join(request, aborted.signal);
    const rejected = assert.rejects(joining, reason);
    const isLost = (): boolean =>
      reach.proxy.log.some(({ fault, endedMs }) => fault === 'lose-answer' && endedMs !== undefined);
    for (let look = 0; !isLost() && look < 500; look++) await sleep(2);
    aborted.abort(reason);
    await rejected;
    reach.proxy.rules.length = 0;
    const { record, created } = await records.join(request, forever);
    assert.equal(created, false);
    assert.equal((await table().row(pullKey(record.id)))?.state, 'queued');
  });

  test('a table that cannot be reached is a retryable CatalogError', async () => {
    await using reach = await table().reach();
    const records = recordsAt(table(), reach);
    reach.proxy.rules.push(onDynamo('GetItem', dynamoError('ThrottlingException'), Infinity));
    await assert.rejects(
      records.join(freshRequest(), forever),
      (error) => error instanceof CatalogError && error.retryable,
    );
  });
}
