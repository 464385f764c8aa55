import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusChangeEvent } from '../../../infra/local/states/states.ts';
import { leaseKey, NOBODY } from '../../../lib/table/keys.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';
import { ABANDONED } from '../../../lib/jobs/ending.ts';
import { formatReference } from '../../../lib/reference/reference.ts';
import type { Announcement } from '../../../lib/jobs/announcer.ts';
import type { MetricName } from '../../../lib/telemetry/telemetry.ts';
import { oversee, type OverseeDeps } from '../../../lib/jobs/oversee.ts';
import { DENIED, fenceOf, freshRequest } from '../../conformance/pull-records-subject.ts';
import { startEmbeddedDynamo } from '../../support/embedded-dynamo.ts';
import { forever, tableOn, type TableUnderTest } from '../../support/table-under-test.ts';
import { fillBench, onStates, statesError, until, type FillBench } from './job-bench.ts';

const busy = (_id: string, signal: AbortSignal) => sleep(60_000, undefined, { signal });

interface Overseer {
  readonly deps: OverseeDeps;
  readonly announced: Announcement[];
  readonly counted: [MetricName, number][];
}

function overseer({ records, leases, executions }: FillBench): Overseer {
  const announced: Announcement[] = [];
  const counted: [MetricName, number][] = [];
  const announcer = { announce: (one: Announcement) => Promise.resolve(void announced.push(one)) };
  const metrics = { add: (name: MetricName, value: number) => void counted.push([name, value]) };
  return { deps: { records, leases, executions, announcer, metrics }, announced, counted };
}

void suite('overseeing executions', () => {
  let table: TableUnderTest;
  before(async () => {
    table = await tableOn(await startEmbeddedDynamo());
  });
  after(() => table[Symbol.asyncDispose]());

  test('a stopped execution: its pull fails, its lock is free, and it is announced and counted; again where it is told again', async () => {
    await using bench = await fillBench(table, busy);
    const { deps, announced, counted } = overseer(bench);
    const request = freshRequest();
    const { id } = await bench.jobs.start(request, forever);
    const lock = await bench.silence(id, 0);
    await bench.stop(id);
    const event = statusChangeEvent(bench.ended[0]!);
    assert.deepEqual(await oversee(deps, event, forever), { pullId: id, outcome: 'ended' });
    assert.deepEqual((await bench.records.find(id, forever))!.failure, ABANDONED);
    assert.equal((await table.row(leaseKey(lock.name)))!.holder, NOBODY);
    const reference = formatReference(request.reference);
    const told = { type: 'Pull Failed', detail: { pullId: id, reference, error: ABANDONED } };
    assert.deepEqual(announced, [told]);
    assert.deepEqual(counted, [['PullsFailed', 1]]);
    assert.notEqual((await bench.jobs.start(request, forever)).id, id);

    await oversee(deps, event, forever);
    assert.deepEqual(announced, [told, told]);
  });

  test('a pull that its workflow ended, or that is not known, is left alone', async () => {
    await using bench = await fillBench(table, async (id) => {
      await bench.records.begin(id, fenceOf(id), forever);
      await bench.records.fail(id, DENIED, forever);
      throw new Error('after the end');
    });
    const { deps, announced, counted } = overseer(bench);
    const { id } = await bench.jobs.start(freshRequest(), forever);
    await until('the execution ends', () => bench.ended.length > 0);
    const event = statusChangeEvent(bench.ended[0]!);
    assert.deepEqual(await oversee(deps, event, forever), { pullId: id, outcome: 'had ended' });
    assert.deepEqual((await bench.records.find(id, forever))!.failure, DENIED);
    const byHand = statusChangeEvent({ ...bench.ended[0]!, name: 'by-hand' });
    assert.deepEqual(await oversee(deps, byHand, forever), { pullId: 'by-hand', outcome: 'unknown' });
    assert.deepEqual([announced, counted], [[], []]);
  });

  test('the schedule measures the oldest running execution; none is 0', async () => {
    await using bench = await fillBench(table, busy);
    const { deps, counted } = overseer(bench);
    const schedule = { 'detail-type': 'Scheduled Event', source: 'aws.events', detail: {} };
    assert.deepEqual(await oversee(deps, schedule, forever), { oldestRunningPullSeconds: 0 });
    await bench.jobs.start(freshRequest(), forever);
    await sleep(1_100);
    const { id } = await bench.jobs.start(freshRequest(), forever);
    await oversee(deps, schedule, forever);
    await bench.stop(bench.begun.find((begun) => begun !== id)!);
    await oversee(deps, schedule, forever);
    assert.deepEqual(new Set(counted.map(([name]) => name)), new Set(['OldestRunningPullSeconds']));
    const [none, oldest, younger] = counted.map(([, seconds]) => seconds);
    assert.ok(none === 0 && oldest! >= 1 && younger! < oldest!, `${none}, ${oldest}, ${younger}`);
  });

  test('the pages of a list have an end', async () => {
    await using bench = await fillBench(table, busy);
    const entry = {
      executionArn: 'arn:aws:states:::x',
      stateMachineArn: 'arn:aws:states:::x',
      name: 'x',
      status: 'RUNNING',
    };
    const page = { executions: [{ ...entry, startDate: 7 }], nextToken: 'more' };
    const headers = { 'content-type': 'application/x-amz-json-1.0' };
    const action = { kind: 'answer', answer: { status: 200, headers, body: JSON.stringify(page) } } as const;
    bench.proxy.rules.push(onStates('ListExecutions', action, Infinity));
    assert.equal(await bench.executions.oldestStartMs(forever), 7_000);
    assert.equal(bench.proxy.log.length, 10);
  });

  test('what cannot be done now fails, to be delivered again; what is no such event is refused', async () => {
    await using bench = await fillBench(table, busy);
    const { deps } = overseer(bench);
    bench.proxy.rules.push(onStates('ListExecutions', statesError('ThrottlingException'), Infinity));
    await assert.rejects(oversee(deps, { 'detail-type': 'Scheduled Event' }, forever), { retryable: true });
    const running = {
      'detail-type': 'Step Functions Execution Status Change',
      detail: { name: 'x', status: 'RUNNING' },
    };
    for (const event of [running, {}, null, { 'detail-type': 'Other' }]) {
      await assert.rejects(oversee(deps, event, forever), InvalidRequestError);
    }
  });
});
