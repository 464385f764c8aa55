import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { CatalogError, DeadlineError } from '../../../lib/errors/cache-error.ts';
import { endAbandoned } from '../../../lib/jobs/ending.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { failTask, publishTask } from '../../../lib/jobs/publish-task.ts';
import { planTask } from '../../../lib/jobs/plan-task.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { multiArchImage, noise, noiseImage, noiseLayer } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { when } from '../../support/upstream/upstream.ts';
import { startWorkflowBench, type WorkflowBench } from './workflow-bench.ts';

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => {
  bench.meddling = {};
  bench.calls.length = 0;
  bench.announced.length = 0;
  bench.counted.clear();
  bench.pull.upstream.clearFaults();
});

const gets = (kind: 'blob' | 'manifest'): number => bench.pull.upstream.count({ kind, method: 'GET' });

test('a pull: one GET for each blob and manifest, one receipt, one announcement, no lock left', async () => {
  const image = multiArchImage({ name: 'workflow', attestations: true });
  const reference = bench.pull.offer(image, 'team/workflow');
  const record = await bench.start(reference, { platforms: ['linux/amd64'] });
  const ended = await bench.ended(record);
  const { receipt } = ended;
  assert.ok(receipt !== undefined, JSON.stringify(ended.failure));
  assert.equal(receipt.outcome, 'pulled');
  assert.equal(receipt.digest, image.root.digest);
  assert.deepEqual(
    receipt.platforms.map(({ platform, complete }) => [platform, complete]),
    [['linux/amd64', true]],
  );
  assert.equal(receipt.blobs.copied, receipt.blobs.total);
  assert.equal(gets('blob'), receipt.blobs.total);
  assert.equal(gets('manifest'), 3);
  assert.equal(receipt.registryRequests.total, bench.pull.upstream.requests.length);
  assert.ok(receipt.durationMs > 0 && receipt.durationMs <= Date.now() - ended.createdMs);
  assert.deepEqual(ended.planned?.missing, { blobs: receipt.blobs.total, bytes: receipt.bytes.total });
  assert.deepEqual(ended.copied, ended.planned.missing);
  assert.equal(ended.plans, 1);
  assert.deepEqual(
    bench.calls.map(({ name }) => name),
    ['plan', 'copy', 'publish'],
  );
  assert.deepEqual(bench.calls[0]?.payload, { id: record.id });
  assert.deepEqual(bench.announced, [{ type: 'Image Cached', detail: { pullId: record.id, receipt } }]);
  assert.equal(bench.counted.get('Misses'), 1);
  assert.equal(bench.counted.get('BytesCopied'), receipt.bytes.total);
  assert.equal(bench.counted.get('RegistryRequests'), receipt.registryRequests.total);
  await bench.pull.assertClean();
  // What the workflow published is a hit for everybody.
  assert.equal((await bench.pull.cache.pull(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
});

test('of a second platform only the rest is copied, and a third time nothing is asked', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'second' }), 'team/second');
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  bench.pull.upstream.requests.length = 0;
  const second = await bench.succeeds(reference, { platforms: ['linux/arm64'] });
  assert.equal(second.blobs.present, 1);
  assert.equal(gets('blob'), second.blobs.copied);
  bench.pull.upstream.requests.length = 0;
  bench.calls.length = 0;
  const third = await bench.succeeds(reference, { platforms: ['linux/arm64'] });
  assert.equal(third.outcome, 'hit');
  assert.equal(bench.pull.upstream.requests.length, 0);
  assert.deepEqual(
    bench.calls.map(({ name }) => name),
    ['plan'],
  );
});

test('of a blob alone: it is copied and linked; no pointer moves, and nobody announces an image', async () => {
  const bytes = noise(20_000, 'alone');
  const digest = bench.pull.upstream.putBlob('team/alone', bytes) as Digest;
  bench.pull.upstream.requests.length = 0;
  const reference = parseReference(`registry.example.test/team/alone@${digest}`);
  const request = { reference, platforms: [], alwaysPull: false, attestations: true };
  // The registry has not been asked for its size yet; a pull of the same that knows it joins this one.
  const records = [];
  for (const blob of [{}, { size: bytes.byteLength }])
    records.push(await bench.jobs.start({ ...request, blob }, forever));
  assert.equal(new Set(records.map(({ id }) => id)).size, 1);
  const { receipt, failure } = await bench.ended(records[0]!);
  assert.deepEqual([receipt?.outcome, receipt?.blobs.copied], ['pulled', 1], JSON.stringify(failure));
  assert.deepEqual(
    bench.calls.map(({ name }) => name),
    ['plan', 'copy', 'publish'],
  );
  assert.deepEqual(
    bench.pull.upstream.requests.map(({ method, kind }) => `${method} ${kind}`),
    ['HEAD blob', 'GET blob'],
  );
  const { repository } = reference;
  const { catalog } = bench.services;
  const link = (await catalog.findLinks(repository, [digest], forever)).get(digest);
  assert.equal(link?.size, bytes.byteLength);
  assert.equal(await catalog.findPointer(reference, { consistent: true, signal: forever }), undefined);
  assert.deepEqual(bench.announced, []);

  // Once more, and what there is none of.
  const again = await bench.ended(await bench.jobs.start({ ...request, blob: {} }, forever));
  assert.equal(again.receipt?.outcome, 'hit');
  const none = { repository, digest: digestOf(Buffer.from('none')) };
  const failed = await bench.ended(await bench.jobs.start({ ...request, reference: none, blob: {} }, forever));
  assert.equal(failed.failure?.name, 'BlobUnknownError');
  assert.deepEqual(bench.announced, []);
});

test('a tag that means what is there already moves the pointer in the plan task', async () => {
  const image = noiseImage({ name: 'retagged' });
  await bench.succeeds(bench.pull.offer(image, 'team/retagged', 'v1'));
  const receipt = await bench.succeeds(bench.pull.offer(image, 'team/retagged', 'v2'));
  assert.equal(receipt.outcome, 'pulled');
  assert.equal(receipt.blobs.copied, 0);
  assert.deepEqual(
    bench.pull.upstream.requests.map(({ method, kind }) => `${method} ${kind}`),
    ['HEAD manifest'],
  );
});

test('alwaysPull follows a tag that moved, and is a hit where it did not', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'first' }), 'team/moving');
  await bench.succeeds(reference);
  const second = noiseImage({ name: 'second of moving' });
  bench.pull.offer(second, 'team/moving');
  const moved = await bench.succeeds(reference, { alwaysPull: true });
  assert.deepEqual([moved.outcome, moved.digest], ['pulled', second.root.digest]);
  const announced = bench.announced.length;
  assert.equal((await bench.succeeds(reference, { alwaysPull: true })).outcome, 'hit');
  assert.equal(bench.announced.length, announced, 'nothing came in: nothing is announced');
});

test('alwaysPull: what is pushed while its blobs are copied is pulled by the next caller, who joins nothing older', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'pushed first', layerBytes: [40_000] }), 'team/pushed');
  const second = noiseImage({ name: 'pushed second', layerBytes: [41_000] });
  let later: PullRecord | undefined;
  bench.meddling.before = async (name) => {
    if (name !== 'copy' || later !== undefined) return undefined;
    bench.pull.offer(second, 'team/pushed');
    later = await bench.start(reference, { alwaysPull: true });
    // Still waiting for the lock: one more who asks now is answered by the same.
    assert.equal((await bench.start(reference, { alwaysPull: true })).id, later.id);
    return undefined;
  };
  const first = await bench.start(reference, { alwaysPull: true });
  assert.equal((await bench.ended(first)).receipt?.outcome, 'pulled');
  assert.ok(later !== undefined && later.id !== first.id);
  const { receipt } = await bench.ended(later);
  assert.deepEqual([receipt?.outcome, receipt?.digest], ['pulled', second.root.digest]);
  await bench.pull.assertClean();
});

test('more blobs than fit into one batch, each fetched once', async () => {
  const image = noiseImage({ name: 'many', layerBytes: Array.from({ length: 8 }, (_, i) => 100 + i) });
  const reference = bench.pull.offer(image, 'team/many');
  const receipt = await bench.having({ batchBytes: 8 * 1024 * 1024 }, () => bench.succeeds(reference));
  assert.equal(receipt.blobs.copied, 9);
  assert.equal(gets('blob'), 9);
  assert.equal(bench.countOf('copy'), 2);
});

test('the same image asked for twice at once is one pull; as two requests it is copied once', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'twice' }), 'team/twice');
  const [one, two] = await Promise.all([bench.start(reference), bench.start(reference)]);
  assert.equal(one.id, two.id);
  const other = await bench.start(reference, { platforms: ['linux/amd64', 'linux/arm64'] });
  assert.notEqual(other.id, one.id);
  const receipts = [(await bench.ended(one)).receipt, (await bench.ended(other)).receipt];
  assert.deepEqual(receipts.map((receipt) => receipt?.outcome).sort(), ['hit', 'pulled']);
  assert.equal(gets('blob'), receipts.find((receipt) => receipt?.outcome === 'pulled')!.blobs.total);
  assert.equal(gets('manifest'), 3);
  await bench.pull.assertClean();
});

test('an execution that is started twice does nothing twice', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'again' }), 'team/again');
  const record = await bench.start(reference);
  const { receipt } = await bench.ended(record);
  bench.pull.upstream.requests.length = 0;
  assert.deepEqual(await planTask(bench.deps, { id: record.id }, forever), { id: record.id, outcome: 'done' });
  const [, , { payload }] = bench.calls as [unknown, unknown, { payload: unknown }];
  assert.deepEqual(await publishTask(bench.deps, payload, forever), { id: record.id });
  assert.deepEqual((await bench.deps.records.find(record.id, forever))?.receipt, receipt);
  assert.equal(bench.pull.upstream.requests.length, 0);
  await bench.pull.assertClean();
});

test('a platform that is missing, and a registry that refuses us, end the pull as what they are', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'fails' }), 'team/fails');
  const missing = await bench.fails(reference, { platforms: ['linux/s390x'] });
  assert.deepEqual(
    { ...missing.failure, message: undefined },
    { name: 'PlatformMissingError', code: 'MANIFEST_UNKNOWN', status: 404, retryable: false, message: undefined },
  );
  assert.match(missing.failure!.message, /has no linux\/s390x; it has linux\/amd64, linux\/arm64/);
  assert.equal(gets('blob'), 0);
  const [told] = bench.announced;
  assert.deepEqual(told, { type: 'Pull Failed', detail: { pullId: missing.id, reference, error: missing.failure } });
  assert.equal(bench.counted.get('PullsFailed'), 1);

  bench.pull.upstream.fault(when({ kind: 'manifest' }, { status: 403 }));
  const denied = await bench.fails(reference);
  assert.deepEqual([denied.failure?.name, denied.failure?.status], ['DeniedError', 403]);
  // Nobody’s credentials were refused: there are none.
  assert.equal(bench.counted.get('CredentialsRejected'), undefined);
  assert.deepEqual(
    bench.executions.slice(-2).map(({ status, error }) => [status, error]),
    [
      ['FAILED', 'PullFailed'],
      ['FAILED', 'PullFailed'],
    ],
  );

  // A failed pull never stands in the way of the next.
  bench.pull.upstream.clearFaults();
  assert.equal((await bench.succeeds(reference)).outcome, 'pulled');
});

test('a registry that wants a longer rest than the state machine waits ends the pull, which says for how long', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'rests' }), 'team/rests');
  const limited = { status: 429, headers: { 'retry-after': '3600' } };
  bench.pull.upstream.fault(when({ kind: 'manifest', method: 'GET' }, limited));
  const { failure } = await bench.fails(reference);
  assert.deepEqual([failure?.code, failure?.status, failure?.retryAfterMs], ['TOOMANYREQUESTS', 429, 3_600_000]);
  assert.equal(bench.countOf('plan'), 1);
  assert.equal(gets('manifest'), 1);
  assert.equal(bench.counted.get('RateLimited'), 1);
});

test('a failure of which only the name is known ends the pull, and frees its request', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'nameless' }), 'team/nameless');
  bench.meddling.before = (name) => (name === 'plan' ? { errorType: 'States.Timeout', errorMessage: '' } : undefined);
  const record = await bench.fails(reference);
  assert.equal(record.failure?.name, 'WorkflowError');
  for (const error of [{ Error: 'States.Timeout' }, { Error: 'States.Timeout', Cause: null }]) {
    const started = await bench.deps.records.join(
      { reference: parseReference(reference), platforms: [], alwaysPull: true, attestations: true },
      forever,
    );
    await failTask(bench.deps, { id: started.record.id, error }, forever);
    assert.equal((await bench.deps.records.find(started.record.id, forever))?.failure?.name, 'WorkflowError');
  }
});

test('a plan that moved the pointer and died before it said so is told as a pull, not as a hit', async () => {
  const image = noiseImage({ name: 'moved and died' });
  await bench.succeeds(bench.pull.offer(image, 'team/died', 'v1'));
  bench.announced.length = 0;
  const { records } = bench.deps;
  const succeed = records.succeed.bind(records);
  let lost = false;
  Object.assign(records, {
    succeed: (...given: Parameters<typeof succeed>) => {
      if (lost) return succeed(...given);
      lost = true;
      return Promise.reject(new CatalogError('end pull', 'killed before it was written'));
    },
  });
  try {
    const receipt = await bench.succeeds(bench.pull.offer(image, 'team/died', 'v2'));
    assert.equal(receipt.outcome, 'pulled');
    assert.deepEqual(
      bench.announced.map(({ type }) => type),
      ['Image Cached'],
    );
  } finally {
    Object.assign(records, { succeed });
  }
});

test('a repository outside "allow", or of no configured registry, is NAME_UNKNOWN', async () => {
  const { failure } = await bench.fails('registry.elsewhere.test/team/app:v1');
  assert.deepEqual([failure?.name, failure?.code, failure?.status], ['UnknownNameError', 'NAME_UNKNOWN', 404]);
});

test('what may go away is tried again: a registry that is down for a while, throttled and killed functions', async () => {
  const reference = bench.pull.offer(multiArchImage({ name: 'flaky' }), 'team/flaky');
  let downs = 0;
  bench.pull.upstream.fault(({ kind }) => (kind === 'blob' && downs++ < 12 ? { status: 503 } : undefined));
  const lambda = ['Lambda.TooManyRequestsException', 'Lambda.Unknown', 'Sandbox.Timedout'].map((errorType) => ({
    errorType,
    errorMessage: 'injected',
  }));
  const left = { plan: [...lambda], copy: [...lambda], publish: [...lambda], fail: [] as typeof lambda };
  bench.meddling.before = (name) => left[name].shift();
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.outcome, 'pulled');
  assert.ok(bench.countOf('copy') >= 5);
  assert.equal(bench.countOf('fail'), 0);
});

test('a registry that stays down ends the pull with the last error', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'down' }), 'team/down');
  bench.pull.upstream.fault(when({ kind: 'manifest' }, { status: 503 }));
  const { failure, plans } = await bench.fails(reference);
  assert.deepEqual([failure?.name, failure?.status, failure?.retryable], ['UpstreamUnavailableError', 502, true]);
  assert.equal(plans, 5);
});

test('a task that dies in a way of its own is told in a plain sentence', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'killed' }), 'team/killed');
  bench.meddling.before = (name) =>
    name === 'copy'
      ? { errorType: 'Runtime.ExitError', errorMessage: 'RequestId: 1 Error: signal: killed' }
      : undefined;
  const { failure } = await bench.fails(reference);
  assert.deepEqual([failure?.name, failure?.status, failure?.retryable], ['WorkflowError', 503, true]);
  assert.match(failure!.message, /Runtime\.ExitError.*memory/);
});

test('a publish task that died after the pointer moved ends with one publication, and one receipt', async () => {
  const image = noiseImage({ name: 'republish' });
  const reference = bench.pull.offer(image, 'team/republish');
  const deps = bench.deps as { records: typeof bench.deps.records };
  const { records } = deps;
  let dies = true;
  deps.records = {
    ...records,
    succeed(...args) {
      if (!dies) return records.succeed(...args);
      dies = false;
      return Promise.reject(new CatalogError('end pull', 'the table is throttled'));
    },
  };
  try {
    const receipt = await bench.succeeds(reference);
    assert.equal(receipt.outcome, 'pulled');
    assert.equal(bench.countOf('publish'), 2);
    const { pointer } = await bench.services.catalog.find(parseReference(reference), {
      consistent: true,
      signal: forever,
    });
    assert.deepEqual([pointer?.generation, pointer?.published], [1, image.root.digest]);
  } finally {
    deps.records = records;
  }
});

test('a lost answer of publish is told again, not done again', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'lost answer' }), 'team/lost-answer');
  let lost = 0;
  bench.meddling.after = (name) =>
    name === 'publish' && lost++ === 0 ? { errorType: 'Lambda.Unknown', errorMessage: 'lost' } : undefined;
  const record = await bench.ended(await bench.start(reference));
  assert.equal(record.state, 'succeeded');
  assert.equal(bench.countOf('publish'), 2);
  const told = { type: 'Image Cached' as const, detail: { pullId: record.id, receipt: record.receipt! } };
  assert.deepEqual(bench.announced, [told, told]);
  assert.equal(bench.counted.get('Misses'), 1);
  await bench.pull.assertClean();
});

test('content that is found lost in between is planned and copied again, under the same lock', async () => {
  const shared = noiseLayer(50_000, 'swept in between');
  const first = bench.pull.offer(noiseImage({ name: 'holds it', sharedLayers: [shared] }), 'team/holder');
  await bench.succeeds(first);
  const image = noiseImage({ name: 'counts on it', sharedLayers: [shared] });
  const reference = bench.pull.offer(image, 'team/counter');
  const [lostDigest] = [...image.blobs].find(([, bytes]) => bytes.byteLength === 50_000)!;
  const { catalog } = bench.services;
  let swept = false;
  bench.meddling.before = async (name) => {
    if (name !== 'publish' || swept) return undefined;
    swept = true;
    const rows = await catalog.findBlobs([lostDigest], forever);
    assert.deepEqual(await catalog.recordLoss([...rows.values()], forever), []);
    const Key = `blobs/sha256/${lostDigest.slice('sha256:'.length)}`;
    await bench.pull.s3.send(new DeleteObjectCommand({ Bucket: bench.pull.stack.bucket, Key }));
    return undefined;
  };
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.outcome, 'pulled');
  assert.deepEqual(bench.calls.map(({ name }) => name).slice(-6), [
    'plan',
    'copy',
    'publish',
    'plan',
    'copy',
    'publish',
  ]);
  assert.equal(bench.counted.get('LeaseWaits'), undefined);
});

test('stopped from outside: the next pull ends the dead one, frees its lock and goes on from what is there', async () => {
  const image = noiseImage({ name: 'stopped', layerBytes: [1_000, 2_000, 90_000] });
  const reference = bench.pull.offer(image, 'team/stopped');
  bench.pull.upstream.fault(({ kind }, { body }) =>
    kind === 'blob' && body.byteLength === 90_000 ? { stallAfterBytes: 10 } : undefined,
  );
  const over = new AbortController();
  bench.meddling.isOver = () => over.signal;
  const record = await bench.start(reference);
  await until(async () => {
    const rows = await bench.services.catalog.findBlobs([...image.blobs.keys()], forever);
    const present = [...rows.values()].filter(({ state }) => state === 'present');
    return present.length === 3 && bench.pull.upstream.count({ kind: 'blob' }) === 4;
  });
  await bench.stop(record);
  await until(() => bench.executions.some(({ name }) => name === record.id));
  assert.equal((await bench.deps.records.find(record.id, forever))?.state, 'running');
  const dead = await endAbandoned(bench.deps, record.id, forever);
  assert.equal(dead.failure?.name, 'WorkflowEndedError');
  over.abort(new DeadlineError('the time of this invocation is over'));
  bench.meddling = {};
  bench.pull.upstream.clearFaults();
  bench.pull.upstream.requests.length = 0;
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.present + receipt.blobs.copied + receipt.blobs.copiedElsewhere, 4);
  assert.ok(receipt.blobs.present >= 3);
});
