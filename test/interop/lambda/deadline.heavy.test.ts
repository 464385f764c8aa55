import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FunctionFailedError } from '../../../infra/local/app/functions.ts';
import { dynamoCatalog } from '../../../lib/catalog/dynamo-catalog.ts';
import { dynamoClient } from '../../../lib/table/dynamo-client.ts';
import { dynamoPullRecords } from '../../../lib/jobs/dynamo-pull-records.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { CopyAnswer, CopyTask, PlanAnswer } from '../../../lib/jobs/tasks.ts';
import { apiEvent } from '../../support/api-event.ts';
import { startBench, type Bench } from '../../support/cache.ts';
import { noiseImage, upstreamImage, type Image } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startPackaged, type PackagedApplication } from './packaged.ts';

const REGISTRY = 'registry.example.test';
const PARALLEL_BLOBS = 2;
const LAYERS = 24;
const LAYER_BYTES = 4 * 64 * 1024;
/** A blob takes half a second, the image six at least: more than two invocations. */
const CHUNK_DELAY_MS = 170;
const COPY_MS = 3_000;

describe('copying under aws-lambda-ric, by invocations that are too short', { timeout: 300_000 }, () => {
  let bench: Bench;
  let upstream: TestUpstream;
  let application: PackagedApplication;
  /** Which blobs of the image are there. */
  let finishedOf: (image: Image) => Promise<readonly string[]>;
  let join: (reference: string) => Promise<PullRecord>;
  let destroyClient: () => void;

  before(async () => {
    bench = await startBench();
    upstream = await bench.use(startUpstream());
    upstream.fault(({ kind, method }) =>
      kind === 'blob' && method === 'GET' ? { chunkDelayMs: CHUNK_DELAY_MS } : undefined,
    );
    application = await bench.use(
      startPackaged({
        stack: bench.stack,
        configuration: {
          registries: { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } },
          limits: { leaseSeconds: 2, parallelBlobs: PARALLEL_BLOBS },
        },
        timeoutsMs: { copy: COPY_MS },
      }),
    );
    const { stack } = bench;
    const client = dynamoClient({
      endpoint: stack.dynamoEndpoint,
      region: stack.region,
      credentials: stack.credentials,
    });
    destroyClient = () => client.destroy();
    const catalog = dynamoCatalog({ client, table: stack.table });
    const records = dynamoPullRecords({ client, table: stack.table });
    finishedOf = async ({ blobs }) => {
      const rows = await catalog.findBlobs([...blobs.keys()], forever);
      return [...rows.values()].filter(({ state }) => state === 'present').map(({ digest }) => digest);
    };
    join = async (reference) => {
      const request = { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true };
      return (await records.join(request, forever)).record;
    };
  });
  after(async () => {
    destroyClient();
    await bench[Symbol.asyncDispose]();
  });

  const offer = (name: string): { image: Image; reference: string; repository: string } => {
    const layerBytes = Array.from({ length: LAYERS }, (_, index) => LAYER_BYTES + index);
    const image = noiseImage({ name, layerBytes });
    const repository = `team/${name}`;
    upstream.addImage(repository, upstreamImage(image, 'v1'));
    return { image, reference: `${REGISTRY}/${repository}:v1`, repository };
  };
  const invoke = (name: string, event: object): Promise<unknown> => application.functions.invoke(name, event);
  const plan = async (id: string): Promise<Extract<PlanAnswer, { outcome: 'copy' }>> => {
    const answer = (await invoke('plan', { id })) as PlanAnswer;
    assert.ok(answer.outcome === 'copy');
    return answer;
  };
  const copiersOf = (): readonly number[] =>
    application.functions
      .environments()
      .filter((one) => one.function === 'copy')
      .map(({ pid }) => pid);
  /** As the state machine does: again and again while it is partial, but without its waits. No finished blob is fetched again. */
  const copy = async (image: Image, batch: CopyTask): Promise<readonly CopyAnswer[]> => {
    const answers: CopyAnswer[] = [];
    for (let task: CopyTask = batch; answers.at(-1)?.outcome !== 'done';) {
      assert.ok(answers.length < 20, 'it must come to an end');
      const finished = await finishedOf(image);
      const before = upstream.requests.length;
      const answer = (await invoke('copy', { ...task, idle: 0 })) as CopyAnswer;
      for (const { kind, reference: digest = '' } of upstream.requests.slice(before)) {
        assert.ok(kind !== 'blob' || !finished.includes(digest), `${digest} was there already`);
      }
      answers.push(answer);
      task = answer;
    }
    return answers;
  };

  test('an image of many blobs: every finished one is kept, and none is fetched twice', async () => {
    const { image, reference, repository } = offer('many');
    const { id } = await join(reference);
    const { plan: key, batches } = await plan(id);
    const answers: (readonly CopyAnswer[])[] = [];
    for (const batch of batches) answers.push(await copy(image, batch));
    const partials = answers.flat().filter(({ outcome }) => outcome === 'partial');
    assert.ok(partials.length >= 2, `${partials.length} partial answers`);
    for (const { idle } of partials) assert.equal(idle, 0, 'each invocation brings something');
    // One process did it all: near its deadline it answers, and is not killed.
    assert.equal(copiersOf().length, 1);
    const gets = upstream.count({ kind: 'blob', method: 'GET', repository });
    const most = image.blobs.size + partials.length * PARALLEL_BLOBS;
    assert.ok(gets <= most, `${gets} GETs for ${image.blobs.size} blobs and ${partials.length} interruptions`);
    await invoke('publish', { id, plan: key, batches: answers.map((batch) => batch.at(-1)) });
    const event = apiEvent('POST', '/v1/pull', { reference });
    const { statusCode, body } = (await invoke('api', event)) as { statusCode: number; body: string };
    assert.deepEqual([statusCode, (JSON.parse(body) as { outcome: string }).outcome], [200, 'hit']);
  });

  test('a killed environment: the next one goes on, with what was finished', async () => {
    const { image, reference, repository } = offer('killed');
    const { id } = await join(reference);
    const { plan: key, batches } = await plan(id);
    const running = invoke('copy', batches[0]!).catch((error: unknown) => error);
    await until(async () => (await finishedOf(image)).length > PARALLEL_BLOBS);
    for (const pid of copiersOf()) process.kill(pid, 'SIGKILL');
    const failure = await running;
    assert.ok(failure instanceof FunctionFailedError, String(failure));
    assert.equal(failure.error.errorType, 'Runtime.ExitError');
    // What the dead one had claimed is free when its leases have lapsed: until then an invocation may bring little.
    const answers: (readonly CopyAnswer[])[] = [];
    for (const batch of batches) answers.push(await copy(image, batch));
    await invoke('publish', { id, plan: key, batches: answers.map((batch) => batch.at(-1)) });
    assert.equal((await finishedOf(image)).length, image.blobs.size);
    const gets = upstream.count({ kind: 'blob', method: 'GET', repository });
    const most = image.blobs.size + (answers.flat().length + 1) * PARALLEL_BLOBS;
    assert.ok(gets <= most, `${gets} GETs for ${image.blobs.size} blobs`);
  });
});
