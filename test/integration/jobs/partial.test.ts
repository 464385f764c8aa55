import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { leaseWatch } from '../../../lib/lock/heartbeat.ts';
import { isLease } from '../../../lib/lock/lease.ts';
import { pullLeaseName } from '../../../lib/table/keys.ts';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { privateDomain } from '../../../lib/reference/trust-domain.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { copyTask } from '../../../lib/jobs/copy-task.ts';
import type { CopyAnswer } from '../../../lib/jobs/tasks.ts';
import { multiArchImage, noiseImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import { copiedBlobs, startWorkflowBench, type WorkflowBench } from './workflow-bench.ts';

/** Of the store, in tests. */
const PART = 5 * 1024 * 1024;

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => {
  bench.meddling = {};
  bench.calls.length = 0;
  bench.counted.clear();
  bench.pull.upstream.clearFaults();
});

/** What the copy task answered, in order. */
function answersOf(of = bench): CopyAnswer[] {
  const answers: CopyAnswer[] = [];
  of.meddling.after = (name, _, answer) => {
    if (name === 'copy') answers.push(answer as CopyAnswer);
    return undefined;
  };
  return answers;
}

test('an image that takes many short invocations is copied once; every finished blob is kept', async () => {
  const image = noiseImage({ name: 'short', layerBytes: Array.from({ length: 24 }, (_, i) => 30_000 + i) });
  const reference = bench.pull.offer(image, 'team/short');
  // The time of an invocation is over while it asks for its ninth blob: at least four have come by then.
  let asks = 0;
  let over = new AbortController();
  bench.pull.upstream.fault(
    when({ kind: 'blob', method: 'GET' }, () => {
      if (++asks < 9) return {};
      over.abort(new DeadlineError('the time of this invocation is over'));
      return { delayMs: 60_000 };
    }),
  );
  const answers = answersOf();
  bench.meddling.before = (name) => {
    if (name === 'copy') [asks, over] = [0, new AbortController()];
    return undefined;
  };
  bench.meddling.isOver = () => over.signal;
  const receipt = await bench.succeeds(reference);
  const partial = answers.filter(({ outcome }) => outcome === 'partial');
  assert.ok(partial.length >= 2, `${partial.length} partial answers`);
  for (const { blobs, waitSeconds } of partial) assert.deepEqual([blobs.present, waitSeconds], [0, 0]);
  assert.equal(receipt.blobs.total, 25);
  // One whose content was stored, but not its row when time was over, is found by its successor.
  assert.equal(
    receipt.blobs.copied + receipt.blobs.copiedElsewhere,
    25,
    'brought by one invocation, to the next not "present"',
  );
  // A blob that was under way when time was over is asked for again; no finished one is.
  const asked = bench.pull.upstream.count({ kind: 'blob', method: 'GET' });
  assert.ok(asked >= 25 && asked < 25 + partial.length * 8, `${asked} GETs`);
});

test('no progress twice in a row ends the pull; the finished blobs stay', async () => {
  const image = noiseImage({ name: 'stuck', layerBytes: [1_000, 50_000] });
  const reference = bench.pull.offer(image, 'team/stuck');
  const [small] = [...image.blobs].find(([, { byteLength }]) => byteLength === 1_000)!;
  const isThere = async (): Promise<boolean> =>
    (await bench.services.catalog.findBlobs([small], forever)).get(small)?.state === 'present';
  // The time of an invocation is over when the one layer is there, and the other stalls.
  let over = new AbortController();
  bench.meddling.isOver = () => (over = new AbortController()).signal;
  bench.pull.upstream.fault(({ kind }, { body }) => {
    if (kind !== 'blob' || body.byteLength !== 50_000) return undefined;
    const stalled = over;
    void until(isThere)
      .then(() => sleep(100))
      .then(() => stalled.abort(new DeadlineError('the time of this invocation is over')));
    return { stallAfterBytes: 100 };
  });
  const answers = answersOf();
  const record = await bench.fails(reference);
  assert.equal(record.failure?.name, 'NoProgressError');
  assert.deepEqual(
    answers.map(({ idle, outcome, waitSeconds }) => [idle, outcome, waitSeconds]),
    [
      [0, 'partial', 0],
      [1, 'partial', 90],
    ],
  );
  // The config of a single image is read while planning.
  assert.equal(await copiedBlobs(bench, record), 1);
  bench.pull.upstream.clearFaults();
  bench.meddling = {};
  assert.equal((await bench.succeeds(reference)).blobs.copied, 1);
});

test('told by the registry when to come back, the batch waits so long, and that is not idleness', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'limited' }), 'team/limited');
  const limited = when({ kind: 'blob' }, { status: 429, headers: { 'retry-after': '2000' } });
  bench.pull.upstream.fault(times(4, limited));
  const answers = answersOf();
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.outcome, 'pulled');
  const waits = answers.filter(({ outcome }) => outcome === 'partial');
  assert.ok(waits.length >= 1);
  for (const { waitSeconds, idle } of waits) assert.deepEqual([waitSeconds, idle], [900, 0]);
  // Every answer that was seen; those of siblings that were stopped meanwhile are not.
  assert.ok((bench.counted.get('RateLimited') ?? 0) >= waits.length);
});

test('a registry that says "later" for ever ends the pull as rate limited', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'for ever' }), 'team/for-ever');
  bench.pull.upstream.fault(when({ kind: 'blob' }, { status: 429, headers: { 'retry-after': '600' } }));
  const { failure } = await bench.fails(reference);
  assert.deepEqual([failure?.code, failure?.status, failure?.retryable], ['TOOMANYREQUESTS', 429, true]);
  assert.equal(bench.countOf('copy'), 9);
});

test('progress that cannot be told ends nothing', async () => {
  const { records } = bench.deps;
  const untold: typeof records = {
    ...records,
    progressed: (_id, _batch, _done, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      }),
  };
  const reference = bench.pull.offer(noiseImage({ name: 'untold' }), 'team/untold');
  const receipt = await bench.having({ records: untold }, () => bench.succeeds(reference));
  assert.equal(receipt.outcome, 'pulled');
  assert.equal(bench.countOf('copy'), 1);
});

test('a lock that somebody else took means planning again, and nothing of the old plan is published', async () => {
  const image = noiseImage({ name: 'overtaken' });
  const reference = bench.pull.offer(image, 'team/overtaken');
  let taken = false;
  bench.meddling.before = async (name, payload) => {
    if (name !== 'publish' || taken) return undefined;
    taken = true;
    const { lock } = (await bench.deps.records.find((payload as { id: string }).id, forever))!;
    const lease = await bench.deps.leases.adopt(lock!, forever);
    await lease.release();
    const thief = await bench.deps.leases.tryAcquire(lock!.name, leaseWatch(), forever);
    assert.ok(isLease(thief));
    setTimeout(() => void thief.release(), 300);
    return undefined;
  };
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.outcome, 'pulled');
  assert.deepEqual(
    bench.calls.map(({ name }) => name),
    ['plan', 'copy', 'publish', 'plan', 'publish'],
    'everything is there: no batch',
  );
  assert.equal(bench.counted.get('LeaseWaits'), 1);
});

test('a plan task that died leaves its lock to its successor, without a wait', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'dead planner' }), 'team/dead-planner');
  let lost = 0;
  // Planned, and the answer was lost: as if the process had died right before it.
  bench.meddling.after = (name) =>
    name === 'plan' && lost++ === 0 ? { errorType: 'Sandbox.Timedout', errorMessage: 'gone' } : undefined;
  const startedMs = performance.now();
  await bench.succeeds(reference);
  assert.ok(performance.now() - startedMs < 15_000);
  assert.equal(bench.counted.get('LeaseWaits'), undefined);
  assert.equal(bench.countOf('plan'), 2);
});

test('a held lock is LeaseHeld after a while, and waited for', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'held' }), 'team/held');
  const holder = await bench.deps.leases.tryAcquire(pullLeaseName(parseReference(reference)), leaseWatch(), forever);
  assert.ok(isLease(holder));
  const record = await bench.having({ lockPatienceMs: 300 }, async () => {
    const started = await bench.start(reference);
    await until(() => bench.countOf('plan') === 2, 40_000);
    return started;
  });
  await holder.release();
  assert.equal((await bench.ended(record)).state, 'succeeded');
  assert.ok((bench.counted.get('LeaseWaits') ?? 0) >= 1);
});

test('a blob that outlives two invocations goes on in the next, where the one before stopped', async () => {
  await using patient = await startWorkflowBench({ resumableAboveMs: 0 });
  const { upstream } = patient.pull;
  const layerBytes = 3 * PART;
  const image = noiseImage({ name: 'long blob', layerBytes: [layerBytes] });
  const [layer] = [...image.blobs].find(([, { byteLength }]) => byteLength === layerBytes)!;
  const reference = patient.pull.offer(image, 'team/long-blob');
  // Each of the first two invocations gets one part and most of another.
  upstream.fault(
    times(
      2,
      when({ kind: 'blob', method: 'GET', reference: layer }, { chunkDelayMs: 1, stallAfterBytes: 2 * PART - 1 }),
    ),
  );
  const answers = answersOf(patient);
  let over = new AbortController();
  patient.meddling.isOver = () => (over = new AbortController()).signal;
  const pulling = patient.succeeds(reference);
  const keptParts = async (): Promise<number> =>
    (await patient.services.catalog.findBlobs([layer], forever)).get(layer)?.checkpoint?.partsDone ?? 0;
  // The time of an invocation is over when the row says how far the layer came.
  for (const invocation of [1, 2]) {
    await until(async () => patient.countOf('copy') === invocation && (await keptParts()) === invocation);
    over.abort(new DeadlineError('the time of this invocation is over'));
  }
  const receipt = await pulling;
  assert.equal(receipt.blobs.copied, 2);
  assert.equal(receipt.bytes.copied, receipt.bytes.total);
  assert.deepEqual(
    answers.map(({ outcome, idle, waitSeconds, keptBytes }) => [outcome, idle, waitSeconds, keptBytes > 0]),
    [
      ['partial', 0, 0, true],
      ['partial', 0, 0, true],
      ['done', 0, 0, false],
    ],
    'what is kept of a blob is progress',
  );
  const ranges = upstream.requests.flatMap(({ headers }) => headers.range ?? []);
  assert.deepEqual(ranges, [`bytes=${PART}-`, `bytes=${2 * PART}-`]);
});

test('a copy task that reads the registry as somebody else plans again', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'somebody else' }), 'team/somebody-else');
  const { upstreams } = bench.deps.pull;
  const deps = bench.deps as { pull: typeof bench.deps.pull };
  const { pull } = deps;
  let changes = 1;
  bench.meddling.before = (name) => {
    if (name !== 'copy' || changes-- !== 1) return undefined;
    deps.pull = {
      ...pull,
      upstreams: {
        ...upstreams,
        async open(repository, signal) {
          deps.pull = pull;
          const domain = privateDomain(repository.registry, 'another');
          return Object.create(await upstreams.open(repository, signal), { domain: { value: domain } }) as Upstream;
        },
      },
    };
    return undefined;
  };
  try {
    await bench.succeeds(reference);
  } finally {
    deps.pull = pull;
  }
  assert.deepEqual(
    bench.calls.map(({ name }) => name),
    ['plan', 'copy', 'plan', 'copy', 'publish'],
  );
});

test('a copy task of an ended pull copies nothing; a broken document is final', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'identity' }), 'team/identity');
  let held: unknown;
  bench.meddling.before = (name, payload) => {
    if (name === 'copy') held ??= payload;
    return undefined;
  };
  const record = await bench.start(reference);
  await bench.ended(record);
  bench.pull.upstream.requests.length = 0;
  const late = await copyTask(bench.deps, held, forever);
  assert.equal(late.outcome, 'done');
  assert.equal(bench.pull.upstream.requests.length, 0);
  await assert.rejects(copyTask(bench.deps, { id: record.id }, forever), (error: Error) => {
    assert.equal(error.name, 'CacheError');
    assert.match(error.message, /task\.plan is not text/);
    return true;
  });
  const unknown = { ...(held as object), id: '00000000-0000-4000-8000-000000000000' };
  await assert.rejects(copyTask(bench.deps, unknown, forever), { message: /pull 00000000.* does not exist/ });
});
