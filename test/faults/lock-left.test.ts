import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DeadlineError } from '../../lib/errors/cache-error.ts';
import { noiseImage } from '../support/images.ts';
import { onDynamo } from '../support/table-under-test.ts';
import { until } from '../support/until.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';

/** Longer than any of these tests: a lock that is left to no one fails the next pull. */
const LEASE_SECONDS = 60;

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

/** UpdateItems of a pull before the one at which it is stopped. */
const takes = [
  { what: 'lock', updates: 0 },
  { what: 'claim on a blob', updates: 1 },
];
const ends = [
  { name: 'its deadline', reason: new DeadlineError('time is over') },
  { name: 'a client that leaves', reason: new Error('the client went away') },
];

describe('a pull that is stopped while it takes something leaves it to no one', { concurrency: 4 }, () => {
  for (const { what, updates } of takes) {
    for (const { name, reason } of ends) {
      const repository = `left/${what.replaceAll(' ', '-')}/${name.replaceAll(' ', '-')}`;
      test(`${what}, ${name}`, async () => {
        await using faulty = await faults.open({ leaseSeconds: LEASE_SECONDS });
        const image = noiseImage({ name: repository });
        const reference = faults.offer(image, repository);
        const answer = Promise.withResolvers<undefined>();
        // It was taken, its answer is lost, and the second try hangs.
        faulty.dynamo.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }, 1, updates));
        faulty.dynamo.rules.push(onDynamo('UpdateItem', { kind: 'hold', until: answer.promise }, 1, updates));
        const stop = new AbortController();
        const pulling = faulty.cache.pull(reference, { deadline: stop.signal }).then(
          ({ outcome }) => outcome,
          (error: unknown) => error,
        );
        await until(() => faulty.dynamo.log.some(({ fault }) => fault === 'hold'));
        stop.abort(reason);
        const seen = await pulling;
        if (reason instanceof DeadlineError) assert.equal(seen, 'partial');
        else assert.equal(seen, reason);
        faulty.dynamo.rules.length = 0;
        answer.resolve(undefined);

        const next = await faulty.cache.pull(reference, { deadline: AbortSignal.timeout(LEASE_SECONDS * 500) });
        assert.equal(next.outcome, 'pulled');
      });
    }
  }
});
