import { DeleteItemCommand, DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { rebuild } from '../../../lib/rebuild/rebuild.ts';
import { bySha512, multiArchImage, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from '../pull/pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

async function loseTheTable(): Promise<void> {
  const dynamo = new DynamoDBClient(bench.stack.dynamoConfig);
  const { table: TableName } = bench.stack;
  const { Items = [] } = await dynamo.send(new ScanCommand({ TableName, ConsistentRead: true }));
  for (const { pk, sk } of Items) await dynamo.send(new DeleteItemCommand({ TableName, Key: { pk: pk!, sk: sk! } }));
  dynamo.destroy();
}

const images: Readonly<Record<string, Image>> = {
  'an index by SHA-512': bySha512(multiArchImage({ name: 'rebuilt', attestations: true })),
};

for (const [what, image] of Object.entries(images)) {
  test(`${what}: a lost table is made again, and the pull is a hit with the same receipt`, async () => {
    const reference = bench.offer(image, `team/${what.toLowerCase().replaceAll(' ', '-')}`);
    await bench.succeeds(reference);
    const before = await bench.succeeds(reference);
    await loseTheTable();
    const outcomes = await Array.fromAsync(rebuild(bench.cache.services.pull, AbortSignal.timeout(30_000)));
    assert.deepEqual(
      outcomes.filter((one) => !('reference' in one) || one.reference === reference),
      [{ outcome: 'rebuilt', reference, lost: 0 }],
    );
    bench.upstream.requests.length = 0;
    const receipt = await bench.succeeds(reference);
    assert.deepEqual([receipt.outcome, receipt.blobs, receipt.bytes], ['hit', before.blobs, before.bytes]);
    assert.deepEqual(receipt.platforms, before.platforms);
    assert.equal((await bench.cache.validate(reference, { deep: true })).state, 'complete');
    assert.equal(bench.upstream.requests.length, 0);
  });
}
