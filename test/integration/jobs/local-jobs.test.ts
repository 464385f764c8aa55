import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { pullKey } from '../../../lib/table/keys.ts';
import { isEnded, type PullRecord } from '../../../lib/jobs/pull-record.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import type { PullRequest } from '../../../lib/pull/pull-request.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { localJobs, type LocalJobs } from '../../../lib/jobs/local-jobs.ts';
import { dynamoTable } from '../../../lib/table/dynamo-table.ts';
import { dynamoClient } from '../../../lib/table/dynamo-client.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { startUpstream, times, when } from '../../support/upstream/upstream.ts';
import { startPullBench } from '../pull/pull-bench.ts';
import { startWorkflowBench, type WorkflowBench } from './workflow-bench.ts';

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.pull.upstream.clearFaults());

const failures: unknown[] = [];
const jobs = (): LocalJobs => localJobs(bench.deps, (_, error) => failures.push(error));
const requestOf = (reference: string, platforms: readonly string[] = []): PullRequest => ({
  reference: parseReference(reference),
  platforms: platforms.map((text) => parsePlatform(text)),
  alwaysPull: false,
  attestations: true,
});
const recordOf = async (id: string): Promise<PullRecord> => (await bench.deps.records.find(id, forever))!;
async function ended({ id }: PullRecord): Promise<PullRecord> {
  await until(async () => isEnded(await recordOf(id)), 30_000);
  return await recordOf(id);
}

test('a pull goes on behind the answer, and who asks meanwhile joins it', async () => {
  await using here = jobs();
  const image = multiArchImage({ name: 'local' });
  const request = requestOf(bench.pull.offer(image, 'team/local'), ['linux/amd64']);
  const all = await Promise.all(Array.from({ length: 10 }, () => here.start(request, forever)));
  assert.equal(new Set(all.map(({ id }) => id)).size, 1);
  const record = await ended(all[0]!);
  assert.equal(record.receipt?.outcome, 'pulled');
  assert.equal(bench.pull.upstream.count({ kind: 'blob', method: 'GET' }), record.receipt.blobs.copied);
  await until(() => here.running === 0);
  await bench.pull.assertClean();
  const { s3, stack } = bench.pull;
  const { KeyCount } = await s3.send(new ListObjectsV2Command({ Bucket: stack.bucket, Prefix: 'plans/' }));
  assert.equal(KeyCount, 0, 'no plan is written');
  const shown = await recordOf(record.id);
  assert.equal(shown.copied.blobs, shown.planned?.missing.blobs, 'all of it is shown as copied');
});

test('what the state machine would try again is tried again; what is final ends it', async () => {
  await using here = jobs();
  const reference = bench.pull.offer(multiArchImage({ name: 'tried again' }), 'team/tried');
  const { attempts } = bench.services.config.limits.upstream;
  bench.pull.upstream.fault(times(attempts, when({ kind: 'manifest' }, { status: 503 })));
  assert.equal((await ended(await here.start(requestOf(reference), forever))).receipt?.outcome, 'pulled');
  const missing = await ended(await here.start(requestOf(reference, ['linux/s390x']), forever));
  assert.equal(missing.failure?.name, 'PlatformMissingError');
  assert.deepEqual(failures, []);
  await bench.pull.assertClean();
});

test('slow pulls of one registry keep those of another waiting for nothing', async () => {
  await using slow = await startUpstream();
  await using two = await startPullBench({
    registries: { 'slow.example.test': { endpoint: slow.origin, credentials: 'none' } },
  });
  const { pull, records } = two.cache.services;
  const announcer = { announce: () => Promise.resolve() };
  await using here = localJobs({ pull, records, announcer, metrics: { add: () => undefined } }, (_, error) =>
    failures.push(error),
  );
  slow.fault(when({ kind: 'blob' }, { stallAfterBytes: 1 }));
  for (let n = 0; n < 12; n++) {
    slow.addImage(`slow/n${n}`, upstreamImage(noiseImage({ name: `slow ${n}` }), 'v1'));
    await here.start(requestOf(`slow.example.test/slow/n${n}:v1`), forever);
  }
  await until(() => slow.count({ kind: 'blob' }) > 0);
  const reference = two.offer(noiseImage({ name: 'quick' }), 'team/quick');
  const { id } = await here.start(requestOf(reference), forever);
  await until(async () => (await records.find(id, forever))?.state === 'succeeded', 20_000);
  assert.ok(here.running >= 12, 'the others are still under way');
});

test('a pull whose process died is ended and begun anew, once it was silent for long enough', async () => {
  const image = noiseImage({ name: 'died locally', layerBytes: [30_000] });
  const request = requestOf(bench.pull.offer(image, 'team/died-locally'));
  bench.pull.upstream.fault(when({ kind: 'blob', method: 'GET' }, { stallAfterBytes: 10 }));
  let dead: PullRecord;
  {
    await using doomed = jobs();
    dead = await doomed.start(request, forever);
    await until(() => bench.pull.upstream.count({ kind: 'blob', method: 'GET' }) > 0);
  }
  bench.pull.upstream.clearFaults();
  await using here = jobs();
  // Not yet known to be dead: it is joined.
  assert.equal((await here.start(request, forever)).id, dead.id);
  const { stack } = bench.pull;
  const { dynamoEndpoint: endpoint, region, credentials } = stack;
  const client = dynamoClient({ endpoint, region, credentials });
  await dynamoTable(client, stack.table).update(
    { key: pullKey(dead.id), update: 'SET updatedMs = :long', values: { ':long': Date.now() - 60_000 } },
    'age',
    forever,
  );
  client.destroy();
  const next = await here.start(request, forever);
  assert.notEqual(next.id, dead.id);
  assert.equal((await recordOf(dead.id)).failure?.name, 'WorkflowEndedError');
  assert.equal((await ended(next)).receipt?.outcome, 'pulled');
  await bench.pull.assertClean();
});
