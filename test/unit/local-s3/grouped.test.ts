import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { grouped } from '../../../infra/local/s3/grouped.ts';

/** A sync that ends when the test says so. */
function held() {
  const running: { resolve: (value: undefined) => void; reject: (error: Error) => void }[] = [];
  const sync = grouped(() => {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    running.push({ resolve, reject });
    return promise;
  });
  return { sync, running };
}

test('all who come while one sync runs share the next one, and none is done before it began', async () => {
  const { sync, running } = held();
  const first = sync();
  await turn();
  const done: string[] = [];
  const others = ['a', 'b', 'c'].map((name) => sync().then(() => done.push(name)));
  await turn();
  assert.equal(running.length, 1);
  running[0]!.resolve(undefined);
  await first;
  await turn();
  assert.deepEqual([running.length, done], [2, []], 'what was written during the first may not be in it');
  running[1]!.resolve(undefined);
  await Promise.all(others);
  assert.equal(running.length, 2);
});

test('a sync that fails fails those who waited for it, and the next is tried', async () => {
  const { sync, running } = held();
  const first = sync();
  await turn();
  const second = sync();
  running[0]!.reject(new Error('EIO'));
  await assert.rejects(first, /EIO/);
  await turn();
  running[1]!.resolve(undefined);
  await second;
});
