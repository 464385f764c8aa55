import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CatalogError } from '../../lib/errors/cache-error.ts';
import type { FaultAction } from '../support/http-fault-proxy.ts';
import { multiArchImage, noiseImage } from '../support/images.ts';
import {
  allUnprocessed,
  dynamoError,
  onDynamo,
  operationsOf,
  type DynamoOperation,
} from '../support/table-under-test.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

test('a hit is two requests to DynamoDB, and none to S3 or the registry', async () => {
  await using faulty = await faults.open();
  const { cache, dynamo, s3 } = faulty;
  const image = multiArchImage({ name: 'hit', attestations: true });
  const reference = faults.offer(image, 'hit/multi');
  await cache.pull(reference);
  for (const platforms of [[], ['linux/amd64'], ['linux/arm64', 'linux/amd64']]) {
    dynamo.log.length = s3.log.length = faults.upstream.requests.length = 0;
    const receipt = await cache.pull(reference, { platforms });
    assert.equal(receipt.outcome, 'hit');
    assert.deepEqual(operationsOf(dynamo), ['GetItem', 'BatchGetItem']);
    assert.equal(s3.log.length, 0);
    assert.equal(faults.upstream.requests.length, 0);
  }
});

describe('a fault on the way to a hit', { concurrency: 4 }, () => {
  // The slow ones first.
  test('an answer that never comes is asked for again', async () => {
    await using faulty = await faults.open();
    const { cache, dynamo } = faulty;
    const reference = faults.offer(noiseImage({ name: 'never' }), 'never/answered');
    await cache.pull(reference);
    dynamo.rules.push(onDynamo('BatchGetItem', { kind: 'hold', until: new Promise(() => undefined) }));
    assert.equal((await cache.pull(reference)).outcome, 'hit');
  });

  const lasting: [string, FaultAction][] = [
    ['throttled', dynamoError('ProvisionedThroughputExceededException')],
    ['broken', dynamoError('InternalServerError', {}, 500)],
    ['not allowed', dynamoError('AccessDeniedException')],
    ['without its table', dynamoError('ResourceNotFoundException')],
    ['unreachable', { kind: 'reset' }],
  ];
  const operations: DynamoOperation[] = ['GetItem', 'BatchGetItem'];
  for (const [i, [name, action]] of lasting.entries()) {
    // I6: an outage of the table is an error of the table, never an image that is not there.
    test(`a table that stays ${name}: neither pull nor validate takes it for "absent"`, async () => {
      await using faulty = await faults.open();
      const { cache, dynamo, s3 } = faulty;
      const repository = `lasting/${i}`;
      const reference = faults.offer(noiseImage({ name: repository }), repository);
      await cache.pull(reference);
      const before = faults.upstream.count({ repository });
      s3.log.length = 0;
      // The SDK waits long between two tries of a throttled request: once is enough.
      for (const operation of name === 'throttled' ? operations.slice(1) : operations) {
        dynamo.rules.splice(0, Infinity, onDynamo(operation, action, Infinity));
        const isCatalogError = (error: unknown): boolean => {
          assert.ok(error instanceof CatalogError, String(error));
          assert.equal(error.retryable, ['throttled', 'broken', 'unreachable'].includes(name), error.message);
          return true;
        };
        await Promise.all([
          assert.rejects(cache.pull(reference), isCatalogError),
          assert.rejects(cache.validate(reference), isCatalogError),
        ]);
      }
      assert.equal(faults.upstream.count({ repository }), before, 'no request to the registry');
      assert.equal(s3.log.length, 0);
      dynamo.rules.length = 0;
      assert.equal((await cache.pull(reference)).outcome, 'hit');
    });
  }

  const passing: [string, FaultAction][] = [
    ['throttled', dynamoError('ProvisionedThroughputExceededException')],
    ['throttled by the service', dynamoError('ThrottlingException')],
    ['a 500', dynamoError('InternalServerError', {}, 500)],
    ['a 503 that is no JSON', { kind: 'answer', answer: { status: 503, body: 'upstream connect error' } }],
    ['a reset connection', { kind: 'reset' }],
    ['a lost answer', { kind: 'lose-answer' }],
    ['slow', { kind: 'delay', delayMs: 400 }],
    ['unprocessed', allUnprocessed],
  ];
  for (const [i, [name, action]] of passing.entries()) {
    test(`both requests: ${name}, twice: still a hit`, async () => {
      await using faulty = await faults.open();
      const { cache, dynamo, s3 } = faulty;
      const repository = `passing/${i}`;
      const reference = faults.offer(noiseImage({ name: repository }), repository);
      await cache.pull(reference);
      const before = faults.upstream.count({ repository });
      s3.log.length = 0;
      const met = action === allUnprocessed ? operations.slice(1) : operations;
      for (const operation of met) dynamo.rules.push(onDynamo(operation, action, 2));
      assert.equal((await cache.pull(reference)).outcome, 'hit');
      const times = action.kind === 'delay' ? 1 : 2;
      assert.equal(dynamo.log.filter(({ fault }) => fault !== undefined).length, times * met.length);
      assert.equal(s3.log.length, 0);
      assert.equal(faults.upstream.count({ repository }), before);
    });
  }
});
