import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type * as EventsFunction from '../../../functions/events.ts';
import {
  CacheError,
  CatalogError,
  JobUnavailableError,
  InvalidRequestError,
  UnknownNameError,
  StoreError,
} from '../../../lib/errors/cache-error.ts';
import type { EventAnswer, StartedPull } from '../../../lib/events/start-pulls.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { objectDeleted, sqsBatch } from '../../support/s3-event.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startEventBench, type EventBench } from './event-bench.ts';

const ACCOUNT = '123456789012';
const ECR = `${ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com`;
const REGISTRY = 'registry.example.test';

let upstream: TestUpstream;
let bench: EventBench;
let handler: typeof EventsFunction.handler;

before(async () => {
  upstream = await startUpstream();
  const open = { endpoint: upstream.origin, credentials: 'none' };
  bench = await startEventBench({
    registries: { [ECR]: { ...open, allow: ['team/**', 'base/*'] }, [REGISTRY]: { ...open, allow: ['team/**'] } },
    events: { ecrPushes: ['team/**', 'secret/**'] },
  });
  ({ handler } = await import('../../../functions/events.ts'));
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await upstream.close();
});
beforeEach(() => void (bench.executions.length = 0));

let images = 0;
function addImage(repository: string, ...tags: string[]): string {
  const image = noiseImage({ name: `event-image-${++images}` });
  upstream.addImage(repository, upstreamImage(image, ...tags));
  return image.root.digest;
}

const handle = async (event: unknown): Promise<EventAnswer> => (await handler(event, lambdaContext())) as EventAnswer;

async function pullsOf(event: unknown): Promise<readonly StartedPull[]> {
  const answer = await handle(event);
  assert.ok('pulls' in answer, JSON.stringify(answer));
  return answer.pulls;
}

/** As EventBridge delivers what somebody put on our bus. */
const onBus = (detail: unknown): unknown => ({
  version: '0',
  id: '17793124-05d4-b198-2fde-7ededc63b103',
  'detail-type': 'Pull Image',
  source: 'com.example.ci',
  account: ACCOUNT,
  time: '2026-01-31T03:00:00Z',
  region: 'eu-central-1',
  resources: [],
  detail,
});

/** As ECR sends it: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
const pushed = (repository: string, tag: string | undefined, more: object = {}, detail: object = {}): unknown => ({
  version: '0',
  id: '13cde686-328b-6117-af20-0e5566167482',
  'detail-type': 'ECR Image Action',
  source: 'aws.ecr',
  account: ACCOUNT,
  time: '2026-01-31T03:00:00Z',
  region: 'eu-central-1',
  resources: [],
  ...more,
  detail: {
    result: 'SUCCESS',
    'repository-name': repository,
    'image-digest': `sha256:${'7f'.repeat(32)}`,
    'action-type': 'PUSH',
    ...(tag === undefined ? {} : { 'image-tag': tag }),
    ...detail,
  },
});

describe('an event on the bus', () => {
  test('starts a pull, and a second delivery finds it done', async () => {
    const digest = addImage('team/a', 'v1');
    const [started] = await pullsOf(onBus({ reference: `${REGISTRY}/team/a:v1` }));
    assert.equal(started?.reference, `${REGISTRY}/team/a:v1`);
    assert.deepEqual(bench.executions.length === 0 ? [started.id] : bench.executions, [started.id]);
    assert.equal((await bench.ended(started.id!)).receipt?.digest, digest);
    assert.deepEqual(await pullsOf(onBus({ reference: `${REGISTRY}/team/a:v1` })), [
      { reference: `${REGISTRY}/team/a:v1` },
    ]);
    assert.equal(bench.executions.length, 1);
  });

  test('delivered twice at once is one pull', async () => {
    addImage('team/twice', 'v1');
    const event = onBus({ reference: `${REGISTRY}/team/twice:v1`, alwaysPull: true });
    const [[first], [second]] = await Promise.all([pullsOf(event), pullsOf(event)]);
    assert.equal(first?.id, second?.id);
    await bench.ended(first!.id!);
    assert.deepEqual(bench.executions, [first?.id]);
  });

  test('may name several images, and how they are wanted', async () => {
    addImage('team/b', 'v1');
    addImage('team/c', 'v1');
    const images = [
      { reference: `${REGISTRY}/team/b:v1`, platforms: ['linux/amd64'], attestations: false },
      { reference: `${REGISTRY}/team/c:v1`, alwaysPull: true },
    ];
    const [b, c] = await pullsOf(onBus({ images }));
    const [recordOfB, recordOfC] = [await bench.ended(b!.id!), await bench.ended(c!.id!)];
    assert.deepEqual(
      [recordOfB.request.platforms.length, recordOfB.request.attestations, recordOfB.request.alwaysPull],
      [1, false, false],
    );
    assert.deepEqual([recordOfC.request.alwaysPull, recordOfC.state], [true, 'succeeded']);
  });

  test('that cannot be understood, or names what is not ours, fails: for the dead-letter queue', async () => {
    await assert.rejects(handle(onBus({ image: 'alpine' })), InvalidRequestError);
    await assert.rejects(handle(onBus({ reference: 'Alpine' })), InvalidRequestError);
    await assert.rejects(handle('alpine'), InvalidRequestError);
    await assert.rejects(handle(null), InvalidRequestError);
    await assert.rejects(handle(onBus({ reference: `${REGISTRY}/other/a:v1` })), UnknownNameError);
    await assert.rejects(handle(onBus({ reference: 'quay.io/a/b:v1' })), UnknownNameError);
    assert.deepEqual(bench.executions, []);
  });

  test('of which one image fails starts the others, and fails with a name', async () => {
    addImage('team/d', 'v1');
    const images = [{ reference: 'quay.io/a/b:v1' }, { reference: `${REGISTRY}/team/d:v1` }];
    await assert.rejects(handle(onBus({ images })), (error) => {
      assert.ok(error instanceof CacheError);
      assert.match(
        error.message,
        /^1 of 2 pulls could not be started\n {2}quay\.io\/a\/b:v1: registry quay\.io is not configured/,
      );
      assert.equal(error.retryable, false);
      return true;
    });
    const [again] = await pullsOf(onBus({ reference: `${REGISTRY}/team/d:v1` }));
    if (again?.id !== undefined) await bench.ended(again.id);
  });

  test('fails to be retried while the state machine cannot be reached, and then starts what is written down', async () => {
    addImage('team/e', 'v1');
    const event = onBus({ reference: `${REGISTRY}/team/e:v1` });
    const mend = bench.cutOff();
    await assert.rejects(handle(event), (error) => error instanceof JobUnavailableError && error.retryable);
    mend();
    const [started] = await pullsOf(event);
    assert.equal((await bench.ended(started!.id!)).state, 'succeeded');
  });
});

describe('a push to ECR', () => {
  test('to a listed repository is pulled, whatever the cache has', async () => {
    addImage('team/app', 'v1');
    const [first] = await pullsOf(pushed('team/app', 'v1'));
    assert.equal(first?.reference, `${ECR}/team/app:v1`);
    await bench.ended(first.id!);
    const moved = addImage('team/app', 'v1');
    const [second] = await pullsOf(pushed('team/app', 'v1'));
    assert.notEqual(second?.id, first.id);
    assert.equal((await bench.ended(second!.id!)).receipt?.digest, moved);
  });

  const ignored: [string, unknown, RegExp][] = [
    ['to a repository that is not listed', pushed('base/app', 'v1'), /base\/app is not in "events\.ecrPushes"/],
    ['to one that is not allowed', pushed('secret/app', 'v1'), /secret\/app is not allowed by registry/],
    [
      'to another region',
      pushed('team/app', 'v1', { region: 'us-east-1' }),
      /no ECR registry of 123456789012 in us-east-1/,
    ],
    ['to another account', pushed('team/app', 'v1', { account: '210987654321' }), /no ECR registry of 210987654321/],
    ['without a tag', pushed('team/app', undefined), /without a tag/],
    ['with an empty tag', pushed('team/app', ''), /without a tag/],
    ['that failed', pushed('team/app', 'v1', {}, { result: 'FAILURE' }), /not a successful push/],
    ['that deletes', pushed('team/app', 'v1', {}, { 'action-type': 'DELETE' }), /not a successful push/],
  ];
  for (const [what, event, why] of ignored) {
    test(`${what} is ignored`, async () => {
      const answer = await handle(event);
      assert.ok('ignored' in answer);
      assert.match(answer.ignored, why);
      assert.deepEqual(bench.executions, []);
    });
  }

  test('that is not as ECR writes it fails', async () => {
    await assert.rejects(handle(pushed('team/app', 'v1', {}, { 'repository-name': 5 })), InvalidRequestError);
    await assert.rejects(handle(pushed('team/app', 'v1', {}, { 'image-tag': 5 })), InvalidRequestError);
    await assert.rejects(handle(pushed('team/app', '../x')), CacheError);
    await assert.rejects(handle(pushed('team/app', 'v1', { account: undefined })), InvalidRequestError);
  });
});

describe('content that is gone from the bucket', () => {
  const remove = (digest: string): Promise<unknown> =>
    bench.s3.send(new DeleteObjectCommand({ Bucket: bench.bucket, Key: keyOf(digest) }));
  const keyOf = (digest: string): string => digest.replace('sha256:', 'blobs/sha256/');
  const deleted = (digest: string): object => objectDeleted(bench.bucket, keyOf(digest));
  const forever = new AbortController().signal;

  /** The numbers of the messages that failed. */
  async function failedOf(...bodies: readonly unknown[]): Promise<readonly number[]> {
    const answer = (await handler(sqsBatch(...bodies), lambdaContext())) as {
      batchItemFailures: { itemIdentifier: string }[];
    };
    return answer.batchItemFailures.map(({ itemIdentifier }) => Number(itemIdentifier.slice(1)));
  }
  async function cached(repository: string, layers = 1): Promise<readonly [reference: string, ...layers: Digest[]]> {
    const image = noiseImage({ name: repository, layerBytes: Array.from({ length: layers }, () => 2_000) });
    upstream.addImage(repository, upstreamImage(image, 'v1'));
    const reference = `${REGISTRY}/${repository}:v1`;
    const [started] = await pullsOf(onBus({ reference }));
    assert.equal((await bench.ended(started!.id!)).state, 'succeeded');
    return [reference, ...[...image.blobs.keys()].slice(-layers)];
  }
  const statesOf = async (digests: readonly Digest[]): Promise<readonly unknown[]> => {
    const rows = await bench.services.catalog.findBlobs(digests, forever);
    return digests.map((digest) => rows.get(digest)?.state);
  };
  const epochOf = async (reference: string): Promise<number> =>
    (await bench.services.catalog.find(parseReference(reference), { consistent: true, signal: forever })).epoch!;

  test('is marked lost, and the next pull brings it again', async () => {
    const [reference, layer] = await cached('team/lost');
    await remove(layer!);
    assert.deepEqual(await failedOf(deleted(layer!)), []);
    assert.deepEqual(await statesOf([layer!]), ['absent']);
    const gets = upstream.count({ kind: 'blob', method: 'GET', reference: layer! });
    const [again] = await pullsOf(onBus({ reference }));
    assert.equal((await bench.ended(again!.id!)).state, 'succeeded');
    assert.equal(upstream.count({ kind: 'blob', method: 'GET', reference: layer! }), gets + 1);
    // The same event again, now late.
    assert.deepEqual(await failedOf(deleted(layer!)), []);
    assert.deepEqual(await statesOf([layer!]), ['present']);
    const [hit] = await pullsOf(onBus({ reference }));
    assert.equal(hit?.id, undefined);
  });

  test('named again, in the same batch and later, changes no epoch', async () => {
    const [reference, layer] = await cached('team/lost-twice');
    await remove(layer!);
    const before = await epochOf(reference);
    for (let times = 1; times <= 3; times++) {
      assert.deepEqual(await failedOf(deleted(layer!), deleted(layer!)), []);
      assert.equal(await epochOf(reference), before + 1);
    }
  });

  test('in a batch with what is there, no content, elsewhere or malformed: the last fails alone', async () => {
    const [reference, lost, kept] = await cached('team/mixed', 2);
    await remove(lost!);
    const before = await epochOf(reference);
    const failed = await failedOf(
      objectDeleted(bench.bucket, 5),
      deleted(kept!),
      objectDeleted(bench.bucket, 'plans/1/1.json'),
      objectDeleted(bench.bucket, 'blobs/sha256/../x'),
      objectDeleted('another-bucket', keyOf(kept!)),
      '{"half": ',
      onBus({ reference }),
      deleted(lost!),
    );
    assert.deepEqual(failed, [0, 5, 6]);
    assert.deepEqual(await statesOf([lost!, kept!]), ['absent', 'present']);
    assert.equal(await epochOf(reference), before + 1);
  });

  test('more of them than one transaction takes are lost by two', async () => {
    const [reference] = await cached('team/many');
    const layers = Array.from({ length: 102 }, (_, i) => digestOf(Buffer.from(`of many ${i}`)));
    const { catalog } = bench.services;
    const recorded = layers.map((digest) => {
      const content = { digest, size: 1, mediaType: 'application/octet-stream' };
      const stored = { size: 1, etag: '"e"' };
      return catalog.recordBlob({ content, stored, domains: [PUBLIC], commit: undefined }, forever);
    });
    assert.ok((await Promise.all(recorded)).every(Boolean));
    const [before, first] = [await epochOf(reference), bench.table.log.length];
    assert.deepEqual(await failedOf(...layers.map(deleted)), []);
    const targets = bench.table.log.slice(first).map(({ headers }) => String(headers['x-amz-target']));
    const count = (operation: string): number => targets.filter((target) => target.endsWith(`.${operation}`)).length;
    assert.deepEqual([count('TransactWriteItems'), count('BatchGetItem'), targets.length], [2, 2, 4]);
    assert.equal(await epochOf(reference), before + 2);
    assert.deepEqual(new Set(await statesOf(layers)), new Set(['absent']));
  });

  test('all messages come again where S3 does not answer', async () => {
    const [, silent, lost] = await cached('team/silent', 2);
    for (const layer of [silent!, lost!]) await remove(layer);
    const rule = {
      path: new RegExp(silent!.slice('sha256:'.length)),
      times: Infinity,
      action: { kind: 'answer', answer: { status: 403 } },
    } as const;
    bench.objects.rules.push(rule);
    await assert.rejects(failedOf(deleted(silent!), deleted(lost!)), (error) => error instanceof StoreError);
    assert.deepEqual(await statesOf([silent!, lost!]), ['present', 'present']);
    bench.objects.rules.splice(bench.objects.rules.indexOf(rule), 1);
    assert.deepEqual(await failedOf(deleted(silent!), deleted(lost!)), []);
    assert.deepEqual(await statesOf([silent!, lost!]), ['absent', 'absent']);
  });

  test('all messages come again where the table fails', async () => {
    const [, layer] = await cached('team/no-table');
    await remove(layer!);
    const answer = { status: 400, body: '{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}' };
    const rule = { times: Infinity, action: { kind: 'answer', answer } } as const;
    bench.table.rules.push(rule);
    await assert.rejects(failedOf(deleted(layer!), '{}'), (error) => error instanceof CatalogError);
    bench.table.rules.splice(bench.table.rules.indexOf(rule), 1);
    assert.deepEqual(await failedOf(deleted(layer!), '{}'), [1]);
    assert.deepEqual(await statesOf([layer!]), ['absent']);
  });

  test('by an event that did not come through the queue, or a batch of another service, fails', async () => {
    await assert.rejects(handle(deleted(`sha256:${'0'.repeat(64)}`)), InvalidRequestError);
    await assert.rejects(handle({ Records: [{ eventSource: 'aws:s3' }] }), InvalidRequestError);
    await assert.rejects(handle({ Records: [{ eventSource: 'aws:sqs' }] }), InvalidRequestError);
  });
});
