import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { FunctionFailedError } from '../../../infra/local/app/functions.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import type { WarmupSummary } from '../../../lib/jobs/announcer.ts';
import { rawS3, startBench, type Bench } from '../../support/cache.ts';
import { apiEvent } from '../../support/api-event.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { objectDeleted } from '../../support/s3-event.ts';
import { until } from '../../support/until.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startPackaged, type PackagedApplication } from './packaged.ts';

const REGISTRY = 'registry.example.test';
const APP = `${REGISTRY}/team/app:v1`;

interface HttpAnswer {
  readonly statusCode: number;
  readonly body: string;
}

describe('the packaged functions under aws-lambda-ric', { timeout: 300_000 }, () => {
  let bench: Bench;
  let upstream: TestUpstream;
  let application: PackagedApplication;

  before(async () => {
    bench = await startBench();
    upstream = await bench.use(startUpstream());
    for (const name of ['app', 'warm', 'event']) {
      upstream.addImage(`team/${name}`, upstreamImage(multiArchImage({ name, layerBytes: [20_000] }), 'v1'));
    }
    application = await bench.use(
      startPackaged({
        stack: bench.stack,
        configuration: {
          registries: { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', allow: ['team/**'] } },
          warmups: { nightly: { schedule: 'cron(0 3 * * ? *)', images: [{ reference: `${REGISTRY}/team/warm:v1` }] } },
          limits: { leaseSeconds: 2 },
        },
      }),
    );
  });
  after(() => bench[Symbol.asyncDispose]());

  const invoke = (name: string, event: unknown): Promise<unknown> => application.functions.invoke(name, event);
  const callApi = async (body: object): Promise<HttpAnswer> =>
    (await invoke('api', apiEvent('POST', '/v1/pull', body))) as HttpAnswer;
  const pidsOf = (name: string): readonly number[] =>
    application.functions
      .environments()
      .filter((one) => one.function === name)
      .map(({ pid }) => pid);

  test('API Gateway, cold: a miss through the workflow of packaged tasks', async () => {
    const answer = await callApi({ reference: APP, platforms: ['linux/amd64'] });
    assert.equal(answer.statusCode, 200, answer.body);
    assert.equal((JSON.parse(answer.body) as Receipt).outcome, 'pulled');
    for (const name of ['api', 'plan', 'copy', 'publish']) assert.ok(pidsOf(name).length > 0, name);
  });

  test('API Gateway, warm: a hit by the same process, also after it was frozen', async () => {
    const [pid = 0] = pidsOf('api');
    const [asked, copiers] = [upstream.requests.length, pidsOf('copy')];
    for (const frozenMs of [0, 1_000]) {
      process.kill(pid, 'SIGSTOP');
      await sleep(frozenMs);
      process.kill(pid, 'SIGCONT');
      const answer = await callApi({ reference: APP, platforms: ['linux/amd64'] });
      assert.deepEqual([answer.statusCode, (JSON.parse(answer.body) as Receipt).outcome], [200, 'hit']);
    }
    assert.deepEqual(pidsOf('api'), [pid]);
    assert.deepEqual([upstream.requests.length, pidsOf('copy')], [asked, copiers]);
  });

  test('API Gateway: problem details, with the request id of the Runtime API', async () => {
    const answer = await callApi({ reference: 'Upper/Case:v1' });
    assert.equal(answer.statusCode, 400);
    const problem = JSON.parse(answer.body) as Problem;
    assert.match(problem.requestId, /^[0-9a-f-]{36}$/);
    const refused = await callApi({ reference: `${REGISTRY}/other/app:v1` });
    assert.ok(refused.statusCode >= 400 && refused.statusCode < 500, refused.body);
  });

  test('Scheduler, cold and warm: the warm-up runs, and once for one time', async () => {
    const event = { warmup: 'nightly', scheduledTime: '2026-03-01T03:00:00Z' };
    const first = (await invoke('warmup', event)) as WarmupSummary;
    assert.deepEqual([first.warmup, first.checked, first.failures.length], ['nightly', 1, 0]);
    assert.deepEqual(
      first.pulls.map(({ outcome }) => outcome),
      ['succeeded'],
    );
    const before = upstream.count({ kind: 'blob', method: 'GET' });
    await invoke('warmup', event);
    const next = (await invoke('warmup', { ...event, scheduledTime: '2026-03-02T03:00:00Z' })) as WarmupSummary;
    assert.deepEqual([next.checked, next.unchanged, next.pulls.length], [1, 1, 0]);
    assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), before);
    assert.equal(pidsOf('warmup').length, 1);
  });

  test('EventBridge: a rule’s event starts a pull, and the clock’s event finds nothing to do', async () => {
    const reference = `${REGISTRY}/team/event:v1`;
    application.events.put('entrepot-local', {
      version: '0',
      id: '1',
      source: 'team.builder',
      'detail-type': 'Pull Image',
      account: '000000000000',
      time: '2026-03-01T03:00:00Z',
      region: 'us-east-1',
      resources: [],
      detail: { reference },
    });
    await until(() => application.events.recent().some(({ event }) => isCached(event, reference)), 60_000);
    await invoke('oversee', {
      version: '0',
      id: '2',
      source: 'aws.events',
      'detail-type': 'Scheduled Event',
      account: '000000000000',
      time: '2026-03-01T03:00:00Z',
      region: 'us-east-1',
      resources: [],
      detail: {},
    });
  });

  test('SQS: deletions come by a rule and a queue, in one batch, and what is gone comes again with the next pull', async () => {
    const image = noiseImage({ name: 'gone' });
    upstream.addImage('team/gone', upstreamImage(image, 'v1'));
    const pullIt = async (): Promise<Receipt> =>
      (await invoke('pull', { reference: `${REGISTRY}/team/gone:v1` })) as Receipt;
    assert.equal((await pullIt()).outcome, 'pulled');
    const gone = [...image.blobs.keys()].at(-1)!;
    const { bucket } = bench.stack;
    const key = gone.replace('sha256:', 'blobs/sha256/');
    const s3 = rawS3(bench.stack);
    await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })).finally(() => s3.destroy());
    for (const one of [key, 'blobs/else']) application.events.put('default', objectDeleted(bucket, one));
    const lines = async (text: string): Promise<readonly string[]> =>
      (await application.logOf('events')).split('\n').filter((line) => line.includes(text));
    await until(async () => (await lines(gone)).length > 0, 60_000);
    await until(async () => (await lines('blobs/else is not content')).length > 0, 60_000);
    const again = await pullIt();
    assert.deepEqual([again.outcome, again.blobs.copied], ['pulled', 1]);
  });

  test('a direct invocation gets the receipt, and the bus is told', async () => {
    const receipt = (await invoke('pull', { reference: APP, platforms: ['linux/arm64'] })) as Receipt;
    assert.equal(receipt.outcome, 'pulled');
    await until(() => application.events.recent().some(({ event }) => isCached(event, APP, null)));
  });

  test('what cannot be done fails by its name', async () => {
    const failure: unknown = await invoke('pull', { reference: `${REGISTRY}/team/app:nothing` }).catch(
      (error: unknown) => error,
    );
    assert.ok(failure instanceof FunctionFailedError);
    assert.equal(failure.error.errorType, 'ManifestUnknownError');
    assert.match(failure.error.errorMessage, /nothing/);
  });

  test('what the functions write is one JSON document a line, the metrics of CloudWatch among them', async () => {
    const lines = (await application.logOf('publish')).split('\n').filter((line) => line.startsWith('{'));
    const documents = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.ok(documents.some((document) => '_aws' in document));
  });
});

function isCached(event: object, reference: string, pullId?: null): boolean {
  const { 'detail-type': type, detail } = event as {
    'detail-type': string;
    detail: { receipt?: Receipt; pullId?: string | null };
  };
  if (pullId === null && detail.pullId !== null) return false;
  return type === 'Image Cached' && detail.receipt?.reference === reference;
}
