import { GetItemCommand, UpdateItemCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { marshall, unmarshall } from '@aws-sdk/util-dynamodb';
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { blobKey } from '../../../lib/table/keys.ts';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import type { Checkpoint } from '../../../lib/store/content-store.ts';
import { noiseImage, type Image } from '../../support/images.ts';
import { startPullingProcess } from '../../support/pulling-process.ts';
import type { Action } from '../../support/upstream/upstream.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

/*
 * A blob that is stopped in the middle, in one process or by its death, is gone on with there by the next (I4). What the upstream was asked for is what
 * counts: the second request starts at the first byte that was not kept.
 */

const PART = 5 * 1024 * 1024;
const LAYER = 3 * PART + 1;
/** However fast it comes, its rest is worth going on with. */
const RESUMABLE = { resumableAboveMs: 0 };
/** Nothing more before the end of the second part: until then there is time to save how far the first one came. */
const SLOW: Action = { chunkDelayMs: 10, stallAfterBytes: 2 * PART - 1 };

let bench: PullBench;
let dynamo: DynamoDBClient;
before(async () => {
  bench = await startPullBench({
    limits: { leaseSeconds: 2, partBytes: PART, stalls: 1, attempts: 1 },
    ...RESUMABLE,
  });
  dynamo = new DynamoDBClient(bench.stack.dynamoConfig);
});
after(async () => {
  dynamo.destroy();
  await bench[Symbol.asyncDispose]();
});
afterEach(() => bench.upstream.clearFaults());

interface LargeImage {
  readonly image: Image;
  readonly layer: Digest;
  readonly reference: string;
  readonly repository: string;
}

/** Offered by an upstream that is slow, and then silent, until its faults are cleared. */
function offerSlowly(name: string, action: Action = SLOW): LargeImage {
  const image = noiseImage({ name, layerBytes: [LAYER] });
  const repository = `team/${name}`;
  const reference = bench.offer(image, repository);
  const layer = [...image.blobs].find(([, { byteLength }]) => byteLength === LAYER)?.[0];
  assert.ok(layer !== undefined);
  bench.upstream.fault(({ reference: digest, headers }) =>
    digest === layer && headers.range === undefined ? action : undefined,
  );
  return { image, layer, reference, repository };
}

async function checkpointOf(layer: Digest): Promise<Checkpoint | undefined> {
  const rows = await bench.cache.services.catalog.findBlobs([layer], AbortSignal.timeout(5_000));
  return rows.get(layer)?.checkpoint;
}

/** Waits until the row says how far the layer came. */
async function untilKept(layer: Digest): Promise<Checkpoint> {
  for (let looks = 0; looks < 300; looks++) {
    const checkpoint = await checkpointOf(layer);
    if (checkpoint !== undefined) return checkpoint;
    await sleep(50);
  }
  throw new Error('no checkpoint was saved');
}

async function openUploads(): Promise<number> {
  const { Uploads: open = [] } = await bench.s3.send(new ListMultipartUploadsCommand({ Bucket: bench.stack.bucket }));
  return open.length;
}

/** The ranges that the layer was asked for, in order. */
const rangesOf = ({ layer }: LargeImage): (string | undefined)[] =>
  bench.upstream.requests
    .filter(({ kind, method, reference }) => kind === 'blob' && method === 'GET' && reference === layer)
    .map(({ headers }) => headers.range);

/** A pull that its deadline stops once a part is kept. */
async function stopInTheMiddle({ layer, reference }: LargeImage): Promise<void> {
  const deadline = new AbortController();
  const pulling = bench.cache.pull(reference, { deadline: deadline.signal });
  await untilKept(layer);
  deadline.abort(new DeadlineError('the time given to this test is over'));
  assert.equal((await pulling).outcome, 'partial');
}

test('a pull that its deadline stops in the middle of a blob is gone on with there', async () => {
  const large = offerSlowly('stopped');
  await stopInTheMiddle(large);
  assert.equal(await openUploads(), 1, 'what was uploaded stays');
  assert.equal((await checkpointOf(large.layer))?.partsDone, 1);

  bench.upstream.clearFaults();
  await bench.succeeds(large.reference);
  assert.deepEqual(rangesOf(large), [undefined, `bytes=${PART}-`]);
  assert.equal(await checkpointOf(large.layer), undefined);
  await bench.assertClean();
  assert.equal((await bench.cache.validate(large.reference, { deep: true })).state, 'complete');
});

test('a process that is killed in the middle of a blob is gone on with there', async () => {
  const large = offerSlowly('killed');
  await using victim = await startPullingProcess(bench.cache.environment, RESUMABLE);
  const pulling = victim.pull({ reference: large.reference });
  await untilKept(large.layer);
  await victim.kill();
  await pulling;

  bench.upstream.clearFaults();
  await bench.succeeds(large.reference);
  assert.deepEqual(rangesOf(large), [undefined, `bytes=${PART}-`]);
  await bench.assertClean();
});

test('an upstream that fails in the middle of a slow blob loses nothing of it', async () => {
  const large = offerSlowly('failing', { chunkDelayMs: 10, dropAfterBytes: 2 * PART - 1 });
  bench.upstream.fault(({ headers }) => (headers.range === undefined ? undefined : { status: 503 }));
  await assert.rejects(bench.cache.pull(large.reference), { name: 'UpstreamUnavailableError', retryable: true });
  assert.equal((await checkpointOf(large.layer))?.partsDone, 1);

  bench.upstream.clearFaults();
  await bench.succeeds(large.reference);
  assert.equal(rangesOf(large).at(-1), `bytes=${PART}-`);
  await bench.assertClean();
});

test('a hash state that went wrong costs another fetch, and never wrong content', async () => {
  const large = offerSlowly('corrupted');
  await stopInTheMiddle(large);
  const Key = marshall(blobKey(large.layer));
  const { Item = {} } = await dynamo.send(new GetItemCommand({ TableName: bench.stack.table, Key }));
  const { checkpoint } = unmarshall(Item) as { checkpoint: Checkpoint };
  const state = Buffer.from(checkpoint.hashState ?? '', 'base64');
  state[90] = (state[90] ?? 0) ^ 1;
  await dynamo.send(
    new UpdateItemCommand({
      TableName: bench.stack.table,
      Key,
      UpdateExpression: 'SET checkpoint.hashState = :state',
      ExpressionAttributeValues: marshall({ ':state': state.toString('base64') }),
    }),
  );

  bench.upstream.clearFaults();
  await bench.succeeds(large.reference);
  assert.deepEqual(rangesOf(large), [undefined, `bytes=${PART}-`, undefined]);
  await bench.assertClean();
});

test('content that is wrong is not kept, however slowly it came', async () => {
  const large = offerSlowly('wrong');
  await stopInTheMiddle(large);
  bench.upstream.clearFaults();
  bench.upstream.fault(({ kind, reference }, { body }) => {
    if (kind !== 'blob' || reference !== large.layer) return undefined;
    const wrong = Buffer.from(body);
    wrong[wrong.byteLength - 1] = (wrong[wrong.byteLength - 1] ?? 0) ^ 1;
    return { body: wrong };
  });
  await bench.fails(large.reference, { name: 'ContentMismatchError' });
  // What the predecessor left is suspected first, then whatever is on the way, and the registry last.
  assert.deepEqual(rangesOf(large), [undefined, `bytes=${PART}-`, undefined, undefined]);
  bench.upstream.clearFaults();
  await bench.succeeds(large.reference);
  await bench.assertClean();
});
