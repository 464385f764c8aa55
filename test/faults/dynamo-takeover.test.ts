import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { marshall } from '@aws-sdk/util-dynamodb';
import { dynamoClient } from '../../lib/table/dynamo-client.ts';
import { leaseKey, pullLeaseName } from '../../lib/table/keys.ts';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { noiseImage } from '../support/images.ts';
import { onDynamo } from '../support/table-under-test.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

/** Blob GETs of the repository wait until `open` is called. Resolves once one waits. */
function holdBlobs(repository: string): { waiting: Promise<void>; open: () => void } {
  let held = true;
  const waiting = (async () => {
    for (let look = 0; look < 1_000; look++) {
      if (faults.upstream.count({ repository, kind: 'blob', method: 'GET' }) > 0) return;
      await sleep(10);
    }
    throw new Error('no blob was asked for');
  })();
  faults.upstream.fault((request) =>
    held && request.repository === repository && request.kind === 'blob' ? { delayMs: 1_500 } : undefined,
  );
  return { waiting, open: () => (held = false) };
}

/** The row says that the holder's time was over long ago: the next one takes the lease at first sight, and the holder does not know. */
async function expire(reference: string): Promise<void> {
  const { stack } = faults.bench;
  const client = dynamoClient({ endpoint: stack.dynamoEndpoint, region: stack.region, credentials: stack.credentials });
  const key = leaseKey(pullLeaseName(parseReference(reference)));
  await client.send(
    new UpdateItemCommand({
      TableName: stack.table,
      Key: marshall(key),
      UpdateExpression: 'SET leaseUntilMs = :past',
      ConditionExpression: 'attribute_exists(pk)',
      ExpressionAttributeValues: marshall({ ':past': Date.now() - 120_000 }),
    }),
  );
  client.destroy();
}

test('a slow puller whose lock was taken over publishes nothing: the tag does not move back', async () => {
  // Its lease is long, so it learns of its loss only when it publishes.
  await using slow = await faults.open({ leaseSeconds: 30 });
  await using quick = await faults.open({ leaseSeconds: 30 });
  const [old, young] = [noiseImage({ name: 'old' }), noiseImage({ name: 'young' })];
  const reference = faults.offer(old, 'slow/puller');
  const blobs = holdBlobs('slow/puller');
  const late = slow.cache.pull(reference);
  await blobs.waiting;
  blobs.open();

  faults.offer(young, 'slow/puller');
  await expire(reference);
  const receipt = await quick.cache.pull(reference, { alwaysPull: true });
  assert.deepEqual([receipt.outcome, receipt.digest], ['pulled', young.root.digest]);

  await assert.rejects(late, (error: unknown) => {
    assert.ok(error instanceof LeaseLostError, String(error));
    assert.equal(error.op, 'publish');
    return true;
  });
  const now = await quick.cache.pull(reference);
  assert.deepEqual([now.outcome, now.digest], ['hit', young.root.digest]);
  const { pointer } = await quick.cache.services.catalog.find(parseReference(reference), {
    consistent: true,
    signal: new AbortController().signal,
  });
  assert.deepEqual([pointer?.generation, pointer?.previous], [1, undefined]);
});

test('a puller that cannot renew stops, and the next one takes over by its own clock', async () => {
  await using cut = await faults.open({ leaseSeconds: 1 });
  await using quick = await faults.open({ leaseSeconds: 1 });
  const image = noiseImage({ name: 'cut off' });
  const reference = faults.offer(image, 'cut/off');
  const blobs = holdBlobs('cut/off');
  const stopped = assert.rejects(cut.cache.pull(reference), LeaseLostError);
  await blobs.waiting;
  // Nothing that it writes arrives any more, not even that it stops.
  cut.dynamo.rules.push(onDynamo('UpdateItem', { kind: 'reset' }, Infinity));
  blobs.open();
  const startedMs = performance.now();
  const receipt = await quick.cache.pull(reference);
  assert.equal(receipt.outcome, 'pulled');
  assert.ok(performance.now() - startedMs > 500, 'it waited for the lease to lapse');
  await stopped;
  assert.equal((await quick.cache.validate(reference, { deep: true })).state, 'complete');
});
