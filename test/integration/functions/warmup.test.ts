import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type * as WarmupFunction from '../../../functions/warmup.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';
import type { WarmupSummary } from '../../../lib/jobs/announcer.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startEventBench, type EventBench } from './event-bench.ts';

const REGISTRY = 'registry.example.test';

let upstream: TestUpstream;
let bench: EventBench;
let handler: typeof WarmupFunction.handler;

before(async () => {
  upstream = await startUpstream();
  const schedule = 'rate(1 day)';
  bench = await startEventBench({
    registries: { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } },
    warmups: {
      nightly: {
        schedule,
        images: [
          { reference: `${REGISTRY}/team/app:v1` },
          { repository: `${REGISTRY}/team/tagged`, tags: { semver: '>=1.1' } },
        ],
      },
      slow: { schedule, images: [{ reference: `${REGISTRY}/team/slow:v1` }] },
    },
  });
  for (const [repository, ...tags] of [
    ['team/app', 'v1'],
    ['team/tagged', '1.0', '1.1', '1.2'],
    ['team/slow', 'v1'],
  ] as const) {
    upstream.addImage(repository, upstreamImage(noiseImage({ name: repository }), ...tags));
  }
  ({ handler } = await import('../../../functions/warmup.ts'));
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await upstream.close();
});

const handle = async (warmup: unknown, scheduledTime: unknown, remainingMs?: number): Promise<WarmupSummary> =>
  (await handler({ warmup, scheduledTime }, lambdaContext(remainingMs))) as WarmupSummary;

test('a schedule runs its warm-up once, however often it is delivered and however the time is written', async () => {
  const summary = await handle('nightly', '2026-01-31T03:00:00Z');
  assert.deepEqual(
    summary.pulls.map(({ reference, outcome }) => [reference, outcome]),
    ['app:v1', 'tagged:1.1', 'tagged:1.2'].map((name) => [`${REGISTRY}/team/${name}`, 'succeeded']),
  );
  assert.deepEqual([summary.warmup, summary.scheduledTime], ['nightly', '2026-01-31T03:00:00.000Z']);
  assert.equal(bench.executions.length, 3);
  assert.deepEqual(bench.announced, [['Warmup Finished', summary]]);

  upstream.requests.length = 0;
  assert.deepEqual(await handle('nightly', '2026-01-31T04:00:00+01:00'), summary);
  assert.deepEqual([upstream.requests.length, bench.executions.length, bench.announced.length], [0, 3, 1]);

  const next = await handle('nightly', '2026-02-01T03:00:00Z');
  assert.deepEqual([next.checked, next.unchanged, next.pulls.length], [3, 3, 0]);
  assert.equal(bench.executions.length, 3);
});

test('a warm-up that is not configured, or a time that is none, is a final error that says what there is', async () => {
  const refused = async (warmup: unknown, time: unknown, message: RegExp): Promise<void> => {
    await assert.rejects(handle(warmup, time), (error) => {
      assert.ok(error instanceof InvalidRequestError && !error.retryable);
      assert.match(error.message, message);
      return true;
    });
  };
  await refused(
    'weekly',
    '2026-01-31T03:00:00Z',
    /"weekly" is not a warm-up of the configuration \(it has: nightly, slow\)/,
  );
  await refused(undefined, '2026-01-31T03:00:00Z', /undefined is not a warm-up/);
  for (const time of [undefined, 5, '', 'now', '2026-13-31T03:00:00Z', '<aws.scheduler.scheduled-time>']) {
    await refused('nightly', time, /is not a time; write it in ISO 8601/);
  }
  await assert.rejects(async () => handler(null, lambdaContext()), InvalidRequestError);
});

test('near its deadline it reports what it has, and the next run goes on', async () => {
  upstream.fault(when({ kind: 'blob', repository: 'team/slow' }, { delayMs: 4000 }));
  const summary = await handle('slow', '2026-01-31T03:00:00Z', 2500);
  assert.deepEqual(
    summary.pulls.map(({ outcome }) => outcome),
    ['running'],
  );
  assert.equal(bench.announced.filter(([, detail]) => (detail as WarmupSummary).warmup === 'slow').length, 1);
  upstream.clearFaults();
  await bench.ended(summary.pulls[0]!.id);
  const next = await handle('slow', '2026-02-01T03:00:00Z');
  assert.deepEqual([next.unchanged, next.pulls.length], [1, 0]);
});

test('while the state machine cannot be reached its pulls are failures to be tried again', async () => {
  const image = noiseImage({ name: 'team/slow again' });
  upstream.addImage('team/slow', upstreamImage(image, 'v1'));
  const mend = bench.cutOff();
  const summary = await handle('slow', '2026-02-02T03:00:00Z');
  mend();
  assert.deepEqual(
    summary.failures.map(({ entry, retryable }) => [entry, retryable]),
    [[`${REGISTRY}/team/slow:v1`, true]],
  );
  const next = await handle('slow', '2026-02-03T03:00:00Z');
  assert.deepEqual(
    next.pulls.map(({ outcome }) => outcome),
    ['succeeded'],
  );
});
