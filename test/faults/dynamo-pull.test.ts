import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CatalogError, LeaseLostError } from '../../lib/errors/cache-error.ts';
import type { FaultAction } from '../support/http-fault-proxy.ts';
import { multiArchImage } from '../support/images.ts';
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

const cancelled = (...codes: string[]): FaultAction =>
  dynamoError('TransactionCanceledException', {
    Message: `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes.join(', ')}]`,
    CancellationReasons: codes.map((Code) => ({ Code })),
  });

const EVERYWHERE: DynamoOperation[] = ['GetItem', 'BatchGetItem', 'UpdateItem', 'BatchWriteItem', 'TransactWriteItems'];
const WRITES: DynamoOperation[] = ['UpdateItem', 'BatchWriteItem', 'TransactWriteItems'];

const passing: { name: string; action: FaultAction; operations: DynamoOperation[] }[] = [
  { name: 'a lost answer', action: { kind: 'lose-answer' }, operations: EVERYWHERE },
  { name: 'a reset', action: { kind: 'reset' }, operations: EVERYWHERE },
  { name: 'a 500', action: dynamoError('InternalServerError', {}, 500), operations: EVERYWHERE },
  { name: 'throttling', action: dynamoError('ProvisionedThroughputExceededException'), operations: EVERYWHERE },
  { name: 'throttling by the service', action: dynamoError('ThrottlingException'), operations: ['UpdateItem'] },
  { name: 'a slow answer', action: { kind: 'delay', delayMs: 300 }, operations: EVERYWHERE },
  { name: 'a conflict', action: dynamoError('TransactionConflictException'), operations: ['UpdateItem'] },
  { name: 'unprocessed keys', action: allUnprocessed, operations: ['BatchGetItem'] },
  { name: 'unprocessed items', action: allUnprocessed, operations: ['BatchWriteItem'] },
  { name: 'a conflict', action: cancelled('TransactionConflict', 'None'), operations: ['TransactWriteItems'] },
  { name: 'a throttled row', action: cancelled('None', 'ThrottlingError'), operations: ['TransactWriteItems'] },
  { name: 'in progress', action: dynamoError('TransactionInProgressException'), operations: ['TransactWriteItems'] },
];

describe('a pull with faults of DynamoDB at several requests of each kind completes', { concurrency: 4 }, () => {
  for (const [number, { name, action, operations }] of passing.entries()) {
    const repository = `passing/${number}`;
    test(`${name}: ${operations.join(', ')}`, async () => {
      await using faulty = await faults.open();
      const image = multiArchImage({ name: repository });
      const reference = faults.offer(image, repository);
      // The first of each kind, and some in the middle.
      for (const operation of operations)
        for (const skip of [0, 1, 4]) faulty.dynamo.rules.push(onDynamo(operation, action, 1, skip));
      const receipt = await faulty.cache.pull(reference);
      assert.equal(receipt.outcome, 'pulled');
      assert.equal(receipt.blobs.copied, image.blobs.size);
      const met = new Set(operationsOf({ log: faulty.dynamo.log.filter(({ fault }) => fault !== undefined) }));
      assert.deepEqual(met, new Set(operations), 'the faults were met');
      await faults.assertLanded(faulty, image, repository);
    });
  }
});

describe('a pull with a table that stays broken fails cleanly, and the next one completes', { concurrency: 4 }, () => {
  const broken = dynamoError('InternalServerError', {}, 500);
  for (const [i, operation] of [...EVERYWHERE, 'UpdateItem' as const].entries()) {
    const repository = `broken/${i}`;
    // For the last: the lock and the first claim are got before writing stops.
    const skip = i === EVERYWHERE.length ? 2 : 0;
    test(`${operation} from the ${skip + 1}. on`, async () => {
      // What it cannot give back lapses soon; the one after it has time on any machine.
      await using faulty = await faults.open({ leaseSeconds: 1 });
      await using next = await faults.open();
      const image = multiArchImage({ name: repository });
      const reference = faults.offer(image, repository);
      faulty.dynamo.rules.push(onDynamo(operation, broken, Infinity, skip));
      await assert.rejects(faulty.cache.pull(reference), (error: unknown) => {
        assert.ok(error instanceof CatalogError || error instanceof LeaseLostError, String(error));
        assert.equal(error.retryable, true);
        return true;
      });
      faulty.dynamo.rules.length = 0;
      assert.equal((await next.cache.validate(reference)).state, 'unknown', 'nothing was published');
      const receipt = await next.cache.pull(reference);
      assert.equal(receipt.outcome, 'pulled');
      await faults.assertLanded(next, image, repository);
    });
  }

  for (const operation of WRITES) {
    const repository = `refused/${operation.toLowerCase()}`;
    test(`${operation} not allowed`, async () => {
      await using faulty = await faults.open();
      const image = multiArchImage({ name: repository });
      const reference = faults.offer(image, repository);
      faulty.dynamo.rules.push(onDynamo(operation, dynamoError('AccessDeniedException'), Infinity));
      await assert.rejects(faulty.cache.pull(reference), (error: unknown) => {
        assert.ok(error instanceof CatalogError, String(error));
        assert.equal(error.retryable, false);
        assert.match(error.message, /AccessDeniedException/);
        return true;
      });
      faulty.dynamo.rules.length = 0;
      assert.equal((await faulty.cache.pull(reference)).outcome, 'pulled');
    });
  }
});
