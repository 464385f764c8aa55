import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ListExecutionsCommand,
  StartExecutionCommand,
  StopExecutionCommand,
  type SFNClient,
} from '@aws-sdk/client-sfn';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { dynamoCatalog } from '../../../lib/catalog/dynamo-catalog.ts';
import { dynamoClient } from '../../../lib/table/dynamo-client.ts';
import { pullLeaseName } from '../../../lib/table/keys.ts';
import { dynamoPullRecords } from '../../../lib/jobs/dynamo-pull-records.ts';
import type { PullFailure } from '../../../lib/pull/failure.ts';
import { isEnded, type PullRecord } from '../../../lib/jobs/pull-record.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import type { PullDocument } from '../../../lib/http/control/pulls.ts';
import { dynamoLeases } from '../../../lib/lock/dynamo-lease.ts';
import { leaseWatch } from '../../../lib/lock/heartbeat.ts';
import { isLease } from '../../../lib/lock/lease.ts';
import { parseDigest, type Digest } from '../../../lib/oci/digest.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { apiEvent } from '../../support/api-event.ts';
import { startBench, type Bench } from '../../support/cache.ts';
import { multiArchImage, noiseImage, upstreamImage, type Image } from '../../support/images.ts';
import { sfnClientAt } from '../../support/state-machine.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { startUpstream, times, when, type Fault, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startPackaged, type PackagedApplication } from './packaged.ts';

const REGISTRY = 'registry.example.test';
const [ACCOUNT, REGION] = ['123456789012', 'us-east-1'];
const ECR = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`;
const PARALLEL_BLOBS = 2;
/** Of one request to the registry. */
const ATTEMPTS = 2;
/** Four chunks: with the pause between them a blob takes more than half a second. */
const SLOW_BYTES = 4 * 64 * 1024;
const SLOW = { chunkDelayMs: 150 };

/** What the cache tells the bus. */
interface Told {
  readonly pullId: string | null;
  readonly reference?: string;
  readonly error?: PullFailure;
  readonly receipt?: Receipt;
}

/** The packaged application on a stack and a registry of its own, and what a test does with it, and sees of it. */
interface Scene extends AsyncDisposable {
  readonly upstream: TestUpstream;
  readonly application: PackagedApplication;
  /** Puts the image there as `team/<name>:v1`. */
  offer(name: string, image: Image): string;
  /** `POST /v1/pull`, by the API's function. */
  post(body: object, headers?: Readonly<Record<string, string>>): Promise<{ statusCode: number; body: string }>;
  /** The same without a wait: the id of the pull that it started or joined. */
  start(body: object): Promise<string>;
  /** The record of the pull, once it has ended. */
  ended(id: string): Promise<PullRecord>;
  record(id: string): Promise<PullRecord>;
  /** Of the state machine, once it has ended. */
  statusOf(id: string): Promise<string | undefined>;
  executionArn(id: string): string;
  readonly sfn: SFNClient;
  readonly stateMachineArn: string;
  told(type: 'Image Cached' | 'Pull Failed', of: (told: Told) => boolean): readonly Told[];
  /** How often each blob of the repository was fetched. */
  gets(repository: string): ReadonlyMap<string, number>;
  /** Of those blobs: which ones are there. */
  present(digests: Iterable<Digest>): Promise<ReadonlySet<string>>;
  isLockFree(reference: string): Promise<boolean>;
  /** The processes that copy, or would. */
  copiers(state?: 'busy'): readonly number[];
  /** What a function wrote, document by document. */
  logged(functionName: string): Promise<readonly Record<string, unknown>[]>;
}

async function openScene(timeoutsMs: Readonly<Record<string, number>> = {}): Promise<Scene> {
  await using resources = new AsyncDisposableStack();
  const bench: Bench = resources.use(await startBench());
  const upstream = await bench.use(startUpstream());
  const application = await bench.use(
    startPackaged({
      stack: bench.stack,
      configuration: {
        registries: {
          [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' },
          [ECR]: { endpoint: upstream.origin, credentials: 'none' },
        },
        events: { ecrPushes: ['team/**'] },
        limits: { leaseSeconds: 2, parallelBlobs: PARALLEL_BLOBS, attempts: ATTEMPTS },
      },
      timeoutsMs,
    }),
  );
  const { dynamoEndpoint, region, credentials, table } = bench.stack;
  const client = dynamoClient({ endpoint: dynamoEndpoint, region, credentials });
  resources.defer(() => client.destroy());
  const { AWS_ENDPOINT_URL_SFN = '', ENTREPOT_STATE_MACHINE: stateMachineArn = '' } = application.environment;
  const sfn = sfnClientAt(AWS_ENDPOINT_URL_SFN);
  resources.defer(() => sfn.destroy());
  const catalog = dynamoCatalog({ client, table });
  const records = dynamoPullRecords({ client, table });
  const leases = dynamoLeases({ client, table, durationMs: 2_000 });

  const executionArn = (id: string): string => `${stateMachineArn.replace(':stateMachine:', ':execution:')}:${id}`;
  const record = async (id: string): Promise<PullRecord> => {
    const found = await records.find(id, forever);
    assert.ok(found !== undefined, id);
    return found;
  };
  const post: Scene['post'] = async (body, headers = {}) => {
    const event = apiEvent('POST', '/v1/pull', body) as { headers: object };
    const asked = { ...event, headers: { ...event.headers, ...headers } };
    return (await application.functions.invoke('api', asked)) as { statusCode: number; body: string };
  };
  const running = resources.move();
  return {
    upstream,
    application,
    sfn,
    stateMachineArn,
    executionArn,
    record,
    post,
    offer(name, image) {
      upstream.addImage(`team/${name}`, upstreamImage(image, 'v1'));
      return `${REGISTRY}/team/${name}:v1`;
    },
    async start(body) {
      const { statusCode, body: answer } = await post(body, { prefer: 'wait=0' });
      assert.equal(statusCode, 202, answer);
      return (JSON.parse(answer) as PullDocument).id;
    },
    async ended(id) {
      await until(async () => isEnded(await record(id)), 60_000);
      return await record(id);
    },
    async statusOf(id) {
      const command = new DescribeExecutionCommand({ executionArn: executionArn(id) });
      let status: string | undefined;
      await until(async () => (status = (await sfn.send(command)).status) !== 'RUNNING');
      return status;
    },
    told: (type, of) =>
      application.events
        .recent()
        .map(({ event }) => event as { 'detail-type': string; detail: Told })
        .filter((event) => event['detail-type'] === type && of(event.detail))
        .map(({ detail }) => detail),
    gets(repository) {
      const counts = new Map<string, number>();
      for (const { kind, method, repository: asked, reference = '' } of upstream.requests) {
        if (kind !== 'blob' || method !== 'GET' || asked !== repository) continue;
        counts.set(reference, (counts.get(reference) ?? 0) + 1);
      }
      return counts;
    },
    async present(digests) {
      const rows = await catalog.findBlobs([...digests], forever);
      return new Set([...rows.values()].filter(({ state }) => state === 'present').map(({ digest }) => digest));
    },
    async isLockFree(reference) {
      const lease = await leases.tryAcquire(pullLeaseName(parseReference(reference)), leaseWatch(), forever);
      if (!isLease(lease)) return false;
      await lease.release();
      return true;
    },
    copiers: (state) =>
      application.functions
        .environments()
        .filter((one) => one.function === 'copy' && (state === undefined || one.state === state))
        .map(({ pid }) => pid),
    async logged(functionName) {
      const lines = (await application.logOf(functionName)).split('\n').filter((line) => line.startsWith('{'));
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

const slowBlobs = (repository: string): Fault => when({ kind: 'blob', method: 'GET', repository }, SLOW);

const slowImage = (name: string, layers: number): Image =>
  noiseImage({ name, layerBytes: Array.from({ length: layers }, (_, index) => SLOW_BYTES + index) });

const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((all, one) => all + one, 0);

/** The blobs of the image, each fetched once. */
const onceEach = (image: Image): ReadonlyMap<string, number> =>
  new Map([...image.blobs.keys()].map((digest) => [digest, 1]));

const sorted = (counts: ReadonlyMap<string, number>): readonly (readonly [string, number])[] =>
  [...counts].sort(([a], [b]) => a.localeCompare(b));

describe('the workflow of the packaged functions, by the state machine', { timeout: 240_000 }, () => {
  let scene: Scene;
  before(async () => {
    scene = await openScene();
  });
  after(() => scene[Symbol.asyncDispose]());

  test('success: each blob is fetched once, and the bus is told', async () => {
    const image = multiArchImage({ name: 'success' });
    const reference = scene.offer('success', image);
    const { statusCode, body } = await scene.post({ reference });
    assert.equal(statusCode, 200, body);
    const receipt = JSON.parse(body) as Receipt;
    assert.equal(receipt.outcome, 'pulled');
    assert.deepEqual(sorted(scene.gets('team/success')), sorted(onceEach(image)));
    const [told, ...more] = scene.told('Image Cached', (one) => one.receipt?.reference === reference);
    assert.ok(told !== undefined && more.length === 0);
    assert.deepEqual(told.receipt, receipt);
    assert.equal(await scene.statusOf(told.pullId!), 'SUCCEEDED');
    assert.ok(await scene.isLockFree(reference));
  });

  test('failure: the platform that is missing is in the record, in the answer and on the bus, and no blob moves', async () => {
    const reference = scene.offer('failure', multiArchImage({ name: 'failure' }));
    const answer = await scene.post({ reference, platforms: ['windows/amd64'] });
    assert.equal(answer.statusCode, 404, answer.body);
    const { instance = '' } = JSON.parse(answer.body) as Problem;
    const id = instance.slice(instance.lastIndexOf('/') + 1);
    const { state, failure } = await scene.record(id);
    assert.deepEqual([state, failure?.name, failure?.status], ['failed', 'PlatformMissingError', 404]);
    assert.match(failure!.message, /windows\/amd64/);
    assert.equal(await scene.statusOf(id), 'FAILED');
    await until(() => scene.told('Pull Failed', (one) => one.pullId === id).length > 0);
    // The rule of executions that ended badly tells oversee, which finds that this one ended itself.
    await until(() => scene.application.functions.environments().some((one) => one.function === 'oversee'));
    await until(() => scene.application.functions.environments().every((one) => one.state === 'idle'));
    const told = scene.told('Pull Failed', (one) => one.pullId === id);
    assert.deepEqual(told, [{ pullId: id, reference, error: failure }]);
    assert.equal(sum(scene.gets('team/failure')), 0);
    assert.ok(await scene.isLockFree(reference));
  });

  test('retry: a copying environment that is killed has a successor, which brings the rest', async () => {
    const image = slowImage('retry', 10);
    const reference = scene.offer('retry', image);
    const stop = scene.upstream.fault(slowBlobs('team/retry'));
    const id = await scene.start({ reference });
    let finished: ReadonlySet<string> = new Set();
    await until(async () => (finished = await scene.present(image.blobs.keys())).size > PARALLEL_BLOBS);
    const [pid = 0, ...others] = scene.copiers('busy');
    assert.deepEqual(others, []);
    process.kill(pid, 'SIGKILL');
    const { state, plans, receipt } = await scene.ended(id);
    assert.deepEqual([state, plans, receipt?.outcome], ['succeeded', 1, 'pulled']);
    assert.equal(await scene.statusOf(id), 'SUCCEEDED');
    assert.ok(scene.copiers().length > 0 && !scene.copiers().includes(pid));
    stop();
    const gets = scene.gets('team/retry');
    assert.equal(gets.size, image.blobs.size);
    // What was under way when it died is fetched again, and nothing that was finished.
    assert.ok(sum(gets) <= image.blobs.size + PARALLEL_BLOBS, `${sum(gets)} GETs for ${image.blobs.size} blobs`);
    for (const digest of finished) assert.equal(gets.get(digest), 1);
  });

  test('retry: a registry that is broken for longer than one invocation tries is asked again later', async () => {
    const image = multiArchImage({ name: 'broken' });
    const reference = scene.offer('broken', image);
    const broken = when({ kind: 'manifest', repository: 'team/broken' }, { status: 503 });
    const stop = scene.upstream.fault(times(ATTEMPTS + 1, broken));
    const id = await scene.start({ reference });
    const { state, plans } = await scene.ended(id);
    stop();
    assert.deepEqual([state, plans], ['succeeded', 2]);
    assert.equal(await scene.statusOf(id), 'SUCCEEDED');
    const asked = scene.upstream.count({ kind: 'manifest', repository: 'team/broken', reference: 'v1' });
    assert.equal(asked, ATTEMPTS + 2, 'all of one invocation, one of the next, and the one that was answered');
    assert.deepEqual(sorted(scene.gets('team/broken')), sorted(onceEach(image)));
  });

  test('stop: the pull of a stopped execution fails, its lock is free, and the same can be pulled again', async () => {
    const image = slowImage('stop', 12);
    const reference = scene.offer('stop', image);
    const stop = scene.upstream.fault(slowBlobs('team/stop'));
    const id = await scene.start({ reference });
    await until(() => sum(scene.gets('team/stop')) > PARALLEL_BLOBS);
    await scene.sfn.send(new StopExecutionCommand({ executionArn: scene.executionArn(id) }));
    await until(async () => isEnded(await scene.record(id)), 10_000);
    const { state, failure } = await scene.record(id);
    assert.deepEqual([state, failure?.name, failure?.retryable], ['failed', 'WorkflowEndedError', true]);
    assert.equal(await scene.statusOf(id), 'ABORTED');
    await until(() => scene.told('Pull Failed', (one) => one.pullId === id).length === 1);
    await until(() => scene.isLockFree(reference), 5_000);

    const again = await scene.start({ reference });
    assert.notEqual(again, id);
    const { state: end, receipt } = await scene.ended(again);
    stop();
    assert.deepEqual([end, receipt?.outcome, receipt?.blobs.total], ['succeeded', 'pulled', image.blobs.size]);
    assert.equal((await scene.record(id)).state, 'failed', 'the end of the first stands');
    // The copying function of the first may run on for a while: no blob is fetched by both.
    const gets = scene.gets('team/stop');
    assert.equal(gets.size, image.blobs.size);
    assert.ok(sum(gets) <= image.blobs.size + PARALLEL_BLOBS, `${sum(gets)} GETs for ${image.blobs.size} blobs`);
    const { statusCode } = await scene.post({ reference });
    assert.equal(statusCode, 200);
  });

  test('duplicate start: an execution of the same name is joined, and never run twice', async () => {
    const image = slowImage('started', 8);
    const reference = scene.offer('started', image);
    const stop = scene.upstream.fault(slowBlobs('team/started'));
    const id = await scene.start({ reference });
    const start = (input: object) =>
      scene.sfn.send(
        new StartExecutionCommand({
          stateMachineArn: scene.stateMachineArn,
          name: id,
          input: JSON.stringify(input),
        }),
      );
    assert.equal((await start({ id })).executionArn, scene.executionArn(id));
    await assert.rejects(start({ id, again: true }), ExecutionAlreadyExists);
    assert.equal(await scene.start({ reference }), id, 'and the API joins it');
    const { state, plans } = await scene.ended(id);
    stop();
    assert.equal(await scene.statusOf(id), 'SUCCEEDED');
    await assert.rejects(start({ id }), ExecutionAlreadyExists);
    assert.deepEqual([state, plans], ['succeeded', 1]);
    assert.deepEqual(sorted(scene.gets('team/started')), sorted(onceEach(image)));
    assert.equal(scene.told('Image Cached', (one) => one.pullId === id).length, 1);
  });

  test('duplicate start: two callers at once get the receipt of one pull', async () => {
    const image = slowImage('twice', 8);
    const reference = scene.offer('twice', image);
    const bothAtOnce = (asked: string) =>
      Promise.all([scene.post({ reference: asked }), scene.post({ reference: asked })]);
    // A hit, by two environments: none of them starts too late for the pull.
    await bothAtOnce(`${REGISTRY}/team/success:v1`);
    const stop = scene.upstream.fault(slowBlobs('team/twice'));
    const executions = async (): Promise<number> =>
      (await scene.sfn.send(new ListExecutionsCommand({ stateMachineArn: scene.stateMachineArn }))).executions!.length;
    const before = await executions();
    const answers = await bothAtOnce(reference);
    stop();
    for (const { statusCode, body } of answers) assert.equal(statusCode, 200, body);
    const [one, other] = answers.map(({ body }) => JSON.parse(body) as Receipt);
    assert.equal(one?.outcome, 'pulled');
    assert.deepEqual(one, other);
    assert.equal((await executions()) - before, 1);
    assert.deepEqual(sorted(scene.gets('team/twice')), sorted(onceEach(image)));
    assert.equal(scene.told('Image Cached', ({ receipt }) => receipt?.reference === reference).length, 1);
  });

  test('an image of 300 layers comes in batches side by side, each blob with one request', async () => {
    const layerBytes = Array.from({ length: 300 }, (_, index) => 100 + index);
    const image = noiseImage({ name: 'layers', layerBytes });
    const reference = scene.offer('layers', image);
    await until(() => scene.copiers('busy').length === 0);
    const id = await scene.start({ reference });
    let widest = 0;
    await until(async () => {
      widest = Math.max(widest, scene.copiers('busy').length);
      return isEnded(await scene.record(id));
    }, 60_000);
    const { state, plans, receipt, failure } = await scene.ended(id);
    assert.deepEqual([state, plans], ['succeeded', 1], failure?.message);
    assert.deepEqual([receipt?.blobs.total, receipt?.blobs.copied], [301, 301]);
    assert.equal(await scene.statusOf(id), 'SUCCEEDED');
    assert.ok(widest > 1, `${widest} environments copied at the same time`);
    assert.deepEqual(sorted(scene.gets('team/layers')), sorted(onceEach(image)));
    assert.equal(receipt?.registryRequests.blob, 301);
    assert.equal(scene.upstream.count({ kind: 'manifest', repository: 'team/layers', method: 'GET' }), 1);
    const hit = await scene.post({ reference });
    assert.deepEqual([hit.statusCode, (JSON.parse(hit.body) as Receipt).outcome], [200, 'hit']);
  });

  test('a push to ECR: the rule of the default bus starts a pull of what was pushed', async () => {
    const image = multiArchImage({ name: 'pushed' });
    scene.offer('pushed', image);
    const reference = `${ECR}/team/pushed:v1`;
    const push = (repository: string, more: object): void =>
      scene.application.events.put('default', {
        version: '0',
        id: crypto.randomUUID(),
        source: 'aws.ecr',
        'detail-type': 'ECR Image Action',
        account: ACCOUNT,
        time: '2026-03-01T03:00:00Z',
        region: REGION,
        resources: [],
        detail: {
          result: 'SUCCESS',
          'repository-name': repository,
          'image-digest': image.root.digest,
          'action-type': 'PUSH',
          ...more,
        },
      });
    push('other/pushed', { 'image-tag': 'v1' });
    push('team/pushed', { 'image-tag': 'v1', 'action-type': 'DELETE' });
    push('team/pushed', {});
    push('team/pushed', { 'image-tag': 'v1' });
    await until(() => scene.told('Image Cached', ({ receipt }) => receipt?.reference === reference).length > 0, 30_000);
    const [{ pullId } = {}] = scene.told('Image Cached', ({ receipt }) => receipt?.reference === reference);
    const { request } = await scene.record(pullId!);
    assert.equal(request.alwaysPull, true);
    assert.deepEqual(sorted(scene.gets('team/pushed')), sorted(onceEach(image)));
    await until(() => scene.application.functions.environments().every((one) => one.state === 'idle'));
    const messages = (await scene.logged('events')).filter(({ message }) => message !== undefined);
    assert.deepEqual(messages.map(({ ignored, pulls }) => ignored ?? pulls).sort(), [
      [{ reference, id: pullId }],
      'pushed without a tag',
    ]);
  });
});

describe(
  'the workflow of the packaged functions, with copying invocations that are too short',
  { timeout: 240_000 },
  () => {
    let scene: Scene;
    before(async () => {
      scene = await openScene({ copy: 3_000 });
    });
    after(() => scene[Symbol.asyncDispose]());

    test('partial: copied on and on until all is there, and no finished blob is fetched twice', async () => {
      const image = slowImage('partial', 20);
      const reference = scene.offer('partial', image);
      /** Blobs that were there when they were asked for again. */
      const again: Promise<ReadonlySet<string>>[] = [];
      const pids = new Set<number>();
      scene.upstream.fault(({ kind, method, reference: digest = '' }) => {
        if (kind !== 'blob' || method !== 'GET') return undefined;
        // This request is logged already.
        if ((scene.gets('team/partial').get(digest) ?? 0) > 1) again.push(scene.present([parseDigest(digest)]));
        for (const pid of scene.copiers('busy')) pids.add(pid);
        return SLOW;
      });
      const id = await scene.start({ reference });
      const { state, plans, receipt, failure } = await scene.ended(id);
      assert.deepEqual([state, plans, receipt?.outcome], ['succeeded', 1, 'pulled'], failure?.message);
      assert.equal(await scene.statusOf(id), 'SUCCEEDED');
      assert.equal(receipt?.blobs.total, image.blobs.size);
      // Each invocation counts once what it brought.
      const invocations = (await scene.logged('copy')).filter((document) => 'BytesCopied' in document).length;
      assert.ok(invocations >= 3, `${invocations} invocations`);
      assert.equal(pids.size, 1, 'near its deadline it answers, and is not killed');
      const gets = scene.gets('team/partial');
      assert.equal(gets.size, image.blobs.size);
      const most = image.blobs.size + (invocations - 1) * PARALLEL_BLOBS;
      assert.ok(sum(gets) <= most, `${sum(gets)} GETs for ${image.blobs.size} blobs and ${invocations} invocations`);
      assert.deepEqual(
        (await Promise.all(again)).flatMap((there) => [...there]),
        [],
      );
      const { statusCode, body } = await scene.post({ reference });
      assert.deepEqual([statusCode, (JSON.parse(body) as Receipt).outcome], [200, 'hit']);
    });
  },
);
