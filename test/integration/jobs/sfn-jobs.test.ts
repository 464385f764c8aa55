import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { leaseKey, NOBODY } from '../../../lib/table/keys.ts';
import { JobUnavailableError } from '../../../lib/errors/cache-error.ts';
import { ABANDONED } from '../../../lib/jobs/ending.ts';
import { DENIED, fenceOf, freshRequest, receiptOf } from '../../conformance/pull-records-subject.ts';
import { startEmbeddedDynamo } from '../../support/embedded-dynamo.ts';
import { gate } from '../../support/state-machine.ts';
import { forever, tableOn, type TableUnderTest } from '../../support/table-under-test.ts';
import { fillBench, onStates, statesError, until } from './job-bench.ts';

const LONG_AGO_MS = 130_000;

/** A task that goes on until the endpoint closes. */
const busy = (_id: string, signal: AbortSignal) => sleep(60_000, undefined, { signal });

void suite('pulls as executions of Step Functions', () => {
  let table: TableUnderTest;
  before(async () => {
    table = await tableOn(await startEmbeddedDynamo());
  });
  after(() => table[Symbol.asyncDispose]());

  test('starts one execution with the id as its name, which ends the pull', async () => {
    const request = freshRequest();
    await using bench = await fillBench(table, async (id) => {
      await bench.records.begin(id, fenceOf(id), forever);
      await bench.records.succeed(id, receiptOf(request), forever);
    });
    const { id, state } = await bench.jobs.start(request, forever);
    assert.equal(state, 'queued');
    await until('the execution ends', () => bench.ended.length > 0);
    assert.deepEqual((await bench.records.find(id, forever))!.receipt, receiptOf(request));
    assert.deepEqual(bench.begun, [id]);
    assert.equal(bench.ended[0]!.input, JSON.stringify({ id }));
    assert.equal(bench.ended[0]!.name, id);
  });

  test('however many ask at once, one pull and one execution answer', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const all = await Promise.all(Array.from({ length: 16 }, () => bench.jobs.start(request, forever)));
    assert.equal(new Set(all.map(({ id }) => id)).size, 1);
    assert.equal((await bench.jobs.start(request, forever)).id, all[0]!.id);
    await until('the task begins', () => bench.begun.length > 0);
    assert.deepEqual(bench.begun, [all[0]!.id]);
  });

  test('a pull whose creator died before it started the execution is started by the next caller', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { record } = await bench.records.join(request, forever);
    assert.equal((await bench.jobs.start(request, forever)).id, record.id);
    await until('the task begins', () => bench.begun.length > 0);
    assert.deepEqual(bench.begun, [record.id]);
  });

  test('a running pull is joined without a word to the workflow service', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { id } = await bench.jobs.start(request, forever);
    await bench.records.begin(id, fenceOf(id), forever);
    bench.proxy.log.length = 0;
    const joined = await bench.jobs.start(request, forever);
    assert.deepEqual([joined.id, joined.state], [id, 'running']);
    assert.equal(bench.proxy.log.length, 0);
  });

  test('a silent pull whose execution runs is left alone', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { id } = await bench.jobs.start(request, forever);
    await bench.silence(id, LONG_AGO_MS);
    const joined = await bench.jobs.start(request, forever);
    assert.deepEqual([joined.id, joined.state], [id, 'running']);
  });

  test('a silent pull whose execution was stopped fails, its lock is freed, and a new one takes its place', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { id } = await bench.jobs.start(request, forever);
    const lock = await bench.silence(id, LONG_AGO_MS);
    await bench.stop(id);
    const callers = await Promise.all(Array.from({ length: 8 }, () => bench.jobs.start(request, forever)));
    assert.equal(new Set(callers.map((record) => record.id)).size, 1);
    assert.notEqual(callers[0]!.id, id);
    assert.deepEqual((await bench.records.find(id, forever))!.failure, ABANDONED);
    assert.equal((await table.row(leaseKey(lock.name)))!.holder, NOBODY);
    await until('both tasks began', () => bench.begun.length === 2);
    assert.deepEqual(bench.begun, [id, callers[0]!.id]);
  });

  test('a silent pull whose execution nobody knows any more is replaced as well', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { record } = await bench.records.join(request, forever);
    await bench.silence(record.id, LONG_AGO_MS);
    const next = await bench.jobs.start(request, forever);
    assert.notEqual(next.id, record.id);
    assert.equal((await bench.records.find(record.id, forever))!.state, 'failed');
  });

  test('only the lock of the dead pull is freed, not that of whoever holds it by now', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { record } = await bench.records.join(request, forever);
    const lock = await bench.silence(record.id, LONG_AGO_MS);
    const change = { update: 'SET holder = :next, generation = :g', values: { ':next': 'another', ':g': 99 } };
    await table.change({ key: leaseKey(lock.name), ...change });
    await bench.jobs.start(request, forever);
    assert.equal((await table.row(leaseKey(lock.name)))!.holder, 'another');
  });

  test('a queued pull whose execution is over already is replaced', async () => {
    await using bench = await fillBench(table, () => Promise.reject(new Error('broken from the start')));
    const request = freshRequest();
    const { id } = await bench.jobs.start(request, forever);
    await until('the execution ends', () => bench.ended.length > 0);
    const next = await bench.jobs.start(request, forever);
    assert.notEqual(next.id, id);
    assert.deepEqual((await bench.records.find(id, forever))!.failure, ABANDONED);
  });

  test('an end that the workflow wrote while we looked is the answer', async () => {
    await using bench = await fillBench(table, busy);
    const request = freshRequest();
    const { record } = await bench.records.join(request, forever);
    await bench.silence(record.id, LONG_AGO_MS);
    const looked = gate();
    bench.proxy.rules.push(onStates('DescribeExecution', { kind: 'hold', until: looked.opened }));
    const starting = bench.jobs.start(request, forever);
    await until('the look is on its way', () => bench.proxy.log.some(({ fault }) => fault === 'hold'));
    await bench.records.fail(record.id, DENIED, forever);
    looked.open();
    const answer = await starting;
    assert.deepEqual([answer.id, answer.failure], [record.id, DENIED]);
  });

  test('workflows that end at once, again and again, are an error and not a loop', async () => {
    await using bench = await fillBench(table, busy);
    bench.proxy.rules.push(
      onStates('StartExecution', statesError('ExecutionAlreadyExists'), Infinity),
      onStates('DescribeExecution', statesError('ExecutionDoesNotExist'), Infinity),
    );
    await assert.rejects(bench.jobs.start(freshRequest(), forever), JobUnavailableError);
    assert.equal(bench.proxy.log.length, 6);
  });

  test('a lost answer to the start is no second execution', async () => {
    await using bench = await fillBench(table, busy);
    bench.proxy.rules.push(onStates('StartExecution', { kind: 'lose-answer' }));
    const { id } = await bench.jobs.start(freshRequest(), forever);
    await until('the task begins', () => bench.begun.length > 0);
    assert.deepEqual(bench.begun, [id]);
  });

  test('throttled, broken or unreachable is JobUnavailableError, and the next caller starts the same pull', async () => {
    await using bench = await fillBench(table, busy);
    for (const action of [
      statesError('ThrottlingException'),
      statesError('ExecutionLimitExceeded'),
      statesError('InternalFailure', 500),
      { kind: 'reset' as const },
    ]) {
      const request = freshRequest();
      bench.proxy.rules.splice(0, Infinity, onStates('StartExecution', action, Infinity));
      await assert.rejects(bench.jobs.start(request, forever), (error) => {
        assert.ok(error instanceof JobUnavailableError, String(error));
        assert.equal(error.retryable, true);
        return true;
      });
      bench.proxy.rules.length = 0;
      const { record, created } = await bench.records.join(request, forever);
      assert.deepEqual([created, record.state], [false, 'queued']);
      assert.equal((await bench.jobs.start(request, forever)).id, record.id);
    }
  });

  test('a refusal that no later try mends says so', async () => {
    await using bench = await fillBench(table, busy);
    bench.proxy.rules.push(onStates('StartExecution', statesError('AccessDeniedException'), Infinity));
    await assert.rejects(bench.jobs.start(freshRequest(), forever), { name: 'CacheError', retryable: false });
    assert.equal(bench.proxy.log.length, 1);
  });

  test('an abort is its own reason', async () => {
    await using bench = await fillBench(table, busy);
    const reason = new Error('the caller went away');
    const aborted = new AbortController();
    bench.proxy.rules.push(onStates('StartExecution', { kind: 'hold', until: sleep(300) }));
    const rejected = assert.rejects(bench.jobs.start(freshRequest(), aborted.signal), reason);
    await until('the start is on its way', () => bench.proxy.log.length > 0);
    aborted.abort(reason);
    await rejected;
  });
});
