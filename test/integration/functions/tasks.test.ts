import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { parseReference } from '../../../lib/reference/reference.ts';
import { isEnded, type PullRecord } from '../../../lib/jobs/pull-record.ts';
import type { CopyAnswer, PlanAnswer } from '../../../lib/jobs/tasks.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { startFaultProxy } from '../../support/http-fault-proxy.ts';
import { multiArchImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { when } from '../../support/upstream/upstream.ts';
import { startPullBench, type PullBench } from '../pull/pull-bench.ts';

type Handler = (event: unknown, context: ReturnType<typeof lambdaContext>) => Promise<unknown>;

/** The real handlers of the tasks, as Step Functions calls them, opened from the variables of a function. */
let bench: PullBench;
let plan: Handler;
let copy: Handler;
let publish: Handler;
let fail: Handler;
const announced: unknown[] = [];

before(async () => {
  bench = await startPullBench();
  const bus = await bench.use(startFaultProxy('http://127.0.0.1:1'));
  bus.rules.push({
    times: Infinity,
    action: {
      kind: 'answer',
      answer: ({ body }) => {
        const { Entries } = JSON.parse(body.toString('utf8')) as { Entries: { DetailType: string }[] };
        announced.push(...Entries.map(({ DetailType }) => DetailType));
        const answer = { FailedEntryCount: 0, Entries: Entries.map(() => ({ EventId: 'id' })) };
        return { status: 200, headers: { 'content-type': 'application/x-amz-json-1.1' }, body: JSON.stringify(answer) };
      },
    },
  });
  Object.assign(process.env, bench.cache.environment, {
    ENTREPOT_BUS: 'entrepot',
    AWS_ENDPOINT_URL_EVENTBRIDGE: bus.endpoint,
    POWERTOOLS_METRICS_DISABLED: 'true',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
  });
  const load = async (name: string): Promise<Handler> =>
    ((await import(`../../../functions/${name}.ts`)) as { handler: Handler }).handler;
  [plan, copy, publish, fail] = (await Promise.all(['plan', 'copy', 'publish', 'fail'].map(load))) as [
    Handler,
    Handler,
    Handler,
    Handler,
  ];
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  announced.length = 0;
  bench.upstream.clearFaults();
});

/** A record as the API writes it down. */
async function join(reference: string): Promise<PullRecord> {
  const request = { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true };
  return (await bench.cache.services.records.join(request, forever)).record;
}

test('the handlers of the tasks pull an image; a copy that runs out of time is partial, and goes on', async () => {
  const reference = bench.offer(multiArchImage({ name: 'tasks' }), 'team/tasks');
  const { id } = await join(reference);
  const planned = (await plan({ id }, lambdaContext())) as Extract<PlanAnswer, { outcome: 'copy' }>;
  assert.equal(planned.outcome, 'copy');
  assert.match(planned.plan, new RegExp(`^plans/${id}/1\\.json$`));

  const [batch] = planned.batches;
  bench.upstream.fault(when({ kind: 'blob' }, { stallAfterBytes: 10 }));
  const partial = (await copy(batch, lambdaContext(2_500))) as CopyAnswer;
  assert.deepEqual([partial.outcome, partial.idle, partial.blobs.copied], ['partial', 1, 0]);
  bench.upstream.clearFaults();
  const copied = (await copy(partial, lambdaContext())) as CopyAnswer;
  assert.deepEqual([copied.outcome, copied.idle], ['done', 0]);
  assert.ok(copied.requests.blob > copied.blobs.copied, 'the first invocation asked, too');

  assert.deepEqual(await publish({ ...planned, batches: [copied] }, lambdaContext()), { id });
  const ended = await bench.cache.services.records.find(id, forever);
  assert.equal(ended?.receipt?.outcome, 'pulled');
  assert.equal(ended.receipt.blobs.copied, ended.receipt.blobs.total);
  assert.deepEqual(announced, ['Image Cached']);
  await bench.assertClean();
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
});

test('a publish task that was not given every batch publishes nothing', async () => {
  const reference = bench.offer(multiArchImage({ name: 'not all' }), 'team/not-all');
  const { id } = await join(reference);
  const planned = (await plan({ id }, lambdaContext())) as Extract<PlanAnswer, { outcome: 'copy' }>;
  await assert.rejects(publish({ ...planned, batches: [] }, lambdaContext()), /batches 0 of plans\/.* were not copied/);
  assert.equal((await bench.cache.validate(reference)).state, 'unknown');
  const cause = { errorType: 'CacheError', errorMessage: 'not ours' };
  await fail({ id, error: { Error: 'CacheError', Cause: JSON.stringify(cause) } }, lambdaContext());
  await bench.assertClean();
});

test('what a task throws is what the fail task tells: by name, code and status', async () => {
  bench.offer(multiArchImage({ name: 'refused' }), 'team/refused');
  const reference = bench.offer(multiArchImage({ name: 'refused' }), 'team/refused', 'v2');
  bench.upstream.fault(when({ kind: 'manifest' }, { status: 401 }));
  const { id } = await join(reference);
  const thrown = await plan({ id }, lambdaContext()).then(
    () => assert.fail('it is refused'),
    (error: unknown) => error as Error,
  );
  assert.equal(thrown.name, 'DeniedError');
  const cause = JSON.stringify({ errorType: thrown.name, errorMessage: thrown.message, trace: [] });
  for (let delivery = 1; delivery <= 2; delivery++) {
    assert.deepEqual(await fail({ id, error: { Error: thrown.name, Cause: cause } }, lambdaContext()), { id });
  }
  const ended = await bench.cache.services.records.find(id, forever);
  assert.ok(ended !== undefined && isEnded(ended));
  assert.deepEqual([ended.failure?.name, ended.failure?.code, ended.failure?.status], ['DeniedError', 'DENIED', 403]);
  assert.deepEqual(announced, ['Pull Failed', 'Pull Failed']);
  await bench.assertClean();
});
