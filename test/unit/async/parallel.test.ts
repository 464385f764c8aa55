import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { allOrFirstFailure, newPermits } from '../../../lib/async/parallel.ts';

const never = new AbortController().signal;

test('no more than so many run at a time, in the order in which they came, and all of them do', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(fc.nat(4), { maxLength: 12 }), async (permits, turns) => {
      const places = newPermits(permits);
      const begun: number[] = [];
      let running = 0;
      await Promise.allSettled(
        turns.map((count, i) =>
          places.run(async () => {
            begun.push(i);
            running += 1;
            assert.ok(running <= permits);
            for (let n = 0; n < count; n++) await turn();
            running -= 1;
            // A failure gives its place back like a success.
            if (count === 3) throw new Error('three');
          }),
        ),
      );
      assert.deepEqual(
        begun,
        turns.map((_, i) => i),
      );
      assert.equal(running, 0);
    }),
    { numRuns: 50 },
  );
});

test('results come in order', async () => {
  const results = await allOrFirstFailure([3, 1, 2], never, async (n) => {
    for (let i = 0; i < n; i++) await turn();
    return n * 10;
  });
  assert.deepEqual(results, [30, 10, 20]);
  assert.deepEqual(await allOrFirstFailure([], never, () => Promise.resolve(1)), []);
});

test('the first failure stops the others, is thrown, and only after all have settled', async () => {
  const settled: string[] = [];
  const first = new Error('first');
  const running = allOrFirstFailure(['slow to stop', 'fails', 'fails later'], never, async (name, signal) => {
    if (name === 'fails') {
      await turn();
      settled.push(name);
      throw first;
    }
    while (!signal.aborted) await turn();
    assert.equal(signal.reason, first);
    if (name === 'slow to stop') for (let i = 0; i < 20; i++) await turn();
    settled.push(name);
    throw new Error(`${name} cleans up badly`);
  });
  await assert.rejects(running, first);
  assert.deepEqual(settled, ['fails', 'fails later', 'slow to stop']);
});

test('a failure that is thrown synchronously is a failure like any other', async () => {
  const error = new Error('at once');
  const failing = allOrFirstFailure([1, 2], never, () => {
    throw error;
  });
  await assert.rejects(failing, error);
});

test("the caller's signal stops all, and its reason is thrown, whatever they fail with", async () => {
  const caller = new AbortController();
  const reason = new Error('deadline');
  let stopped = 0;
  const running = allOrFirstFailure([1, 2, 3], caller.signal, async (n, signal) => {
    while (!signal.aborted) await turn();
    stopped += 1;
    if (n === 2) throw new Error('broke while stopping');
  });
  caller.abort(reason);
  await assert.rejects(running, reason);
  assert.equal(stopped, 3);
});

test('the signal of one call is not fired by another call that fails', async () => {
  const caller = new AbortController();
  await assert.rejects(
    allOrFirstFailure([1], caller.signal, () => Promise.reject(new Error('own'))),
    /own/,
  );
  assert.equal(caller.signal.aborted, false);
});

test('permits go to those who wait in the order in which they came; whoever stops waiting takes none', async () => {
  const permits = newPermits(2);
  const [first, second] = [permits.take(), await permits.wait(never)];
  assert.ok(first !== undefined);
  assert.equal(permits.take(), undefined);
  const holders: string[] = [];
  const wait = async (name: string, signal = never): Promise<Disposable> => {
    const permit = await permits.wait(signal);
    holders.push(name);
    return permit;
  };
  const leaving = new AbortController();
  const [third, left, fourth] = [wait('third'), wait('left', leaving.signal), wait('fourth')];
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  await assert.rejects(permits.wait(leaving.signal), /gone/);
  first[Symbol.dispose]();
  const one = await third;
  assert.deepEqual(holders, ['third']);
  second[Symbol.dispose]();
  const other = await fourth;
  assert.deepEqual(holders, ['third', 'fourth']);
  assert.equal(permits.take(), undefined, 'a permit that is handed on is not free');
  for (const permit of [one, other]) permit[Symbol.dispose]();
  const free = [permits.take(), permits.take(), permits.take()];
  assert.deepEqual(
    free.map((permit) => permit !== undefined),
    [true, true, false],
  );
});
