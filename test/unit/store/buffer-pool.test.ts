import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from '../../../lib/store/parts.ts';

test('lends no more than its limit, and the same buffers again', async () => {
  const pool = new BufferPool(16, 2);
  const [one, two] = [await pool.acquire(), await pool.acquire()];
  assert.notEqual(one, two);
  assert.equal(one.byteLength, 16);

  const waiting: Buffer[] = [];
  const third = pool.acquire().then((buffer) => waiting.push(buffer));
  const fourth = pool.acquire().then((buffer) => waiting.push(buffer));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(waiting.length, 0);

  pool.release(two);
  await third;
  pool.release(one);
  await fourth;
  assert.deepEqual(
    waiting.map((buffer) => buffer === two),
    [true, false],
    'first come, first served',
  );
});

test('a released buffer is lent before another is allocated', async () => {
  const pool = new BufferPool(16, 2);
  const one = await pool.acquire();
  pool.release(one);
  assert.equal(await pool.acquire(), one);
});
