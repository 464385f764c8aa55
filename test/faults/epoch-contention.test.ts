import { after, before, describe } from 'node:test';
import { expectedToFail } from '../support/expected-to-fail.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';
import { readyToPublish } from './project.ts';

/** Enough that some give up on any machine: each waits for the others. */
const CONTENTIONS = [
  { hold: 40, publishes: 100 },
  { hold: 100, publishes: 50 },
];

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

describe('publishes of different images', { concurrency: 2 }, () => {
  for (const { hold, publishes } of CONTENTIONS) {
    expectedToFail(
      `${publishes} at once all succeed, where each transaction lasts ${hold} ms`,
      'all of them check one row, and a publish gives up after ten conflicts, however far its deadline is',
      /refused the transaction to publish: .*TransactionConflict/,
      async () => {
        await using faulty = await faults.open();
        await using ready = await readyToPublish(faulty.cache, `registry.example.test/contention/${hold}`, publishes);
        await faulty.dynamo.misbehave({ conflicts: { hold } });
        try {
          await ready.publish();
        } finally {
          await faulty.dynamo.misbehave({});
        }
      },
    );
  }
});
