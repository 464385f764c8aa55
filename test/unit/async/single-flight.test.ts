import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SingleFlight } from '../../../lib/async/single-flight.ts';
import { forever } from '../../support/table-under-test.ts';

test('one run for all who ask at once; failures are not kept', async () => {
  const work = new SingleFlight<number>();
  let runs = 0;
  const run = (): Promise<number> =>
    work.run('key', forever, () => {
      runs++;
      return runs === 1 ? Promise.reject(new Error('first')) : Promise.resolve(runs);
    });
  const outcomes = await Promise.allSettled([run(), run()]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(await run(), 2);
});

test('one caller may leave; with the last one the work is aborted', async () => {
  const work = new SingleFlight<never>();
  let ended = false;
  const run = (signal: AbortSignal): Promise<never> =>
    work.run(
      'key',
      signal,
      (shared) =>
        new Promise((_resolve, reject) => {
          shared.addEventListener('abort', () => {
            ended = true;
            reject(new Error('aborted'));
          });
        }),
    );
  const first = new AbortController();
  const second = new AbortController();
  const running = [run(first.signal), run(second.signal)];
  first.abort(new Error('one'));
  await assert.rejects(running[0]!, /one/);
  assert.equal(ended, false);
  second.abort(new Error('two'));
  await assert.rejects(running[1]!, /two/);
  assert.equal(ended, true);
});
test('work that ignores its signal does not hold its last caller', async () => {
  const work = new SingleFlight<never>();
  const stop = new AbortController();
  const reason = new Error('deadline');
  const left = work.run('key', stop.signal, () => new Promise(() => undefined));
  const startMs = performance.now();
  stop.abort(reason);
  await assert.rejects(left, reason);
  assert.ok(performance.now() - startMs < 2000);
});

test('each key has a run of its own', async () => {
  const work = new SingleFlight<string>();
  const run = (key: string): Promise<string> => work.run(key, forever, () => Promise.resolve(key));
  const both = Promise.all([run('a'), run('b')]);
  assert.deepEqual([work.isRunning('a'), work.isRunning('b'), work.isRunning('c')], [true, true, false]);
  assert.deepEqual(await both, ['a', 'b']);
  assert.equal(work.isRunning('a'), false);
});
