import assert from 'node:assert/strict';
import { test } from 'node:test';
import { processSeats } from '../../../lib/serve/seats.ts';
import { forever } from '../../support/table-under-test.ts';

test('who waits for a seat gets it in turn; who leaves the queue takes none', async () => {
  const seats = processSeats(2);
  const [first, second] = [seats.take(), await seats.wait(forever)];
  assert.ok(first !== undefined);
  assert.equal(seats.take(), undefined);
  const seated: string[] = [];
  const wait = async (name: string, signal = forever): Promise<Disposable> => {
    const seat = await seats.wait(signal);
    seated.push(name);
    return seat;
  };
  const leaving = new AbortController();
  const [third, left, fourth] = [wait('third'), wait('left', leaving.signal), wait('fourth')];
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  await assert.rejects(seats.wait(leaving.signal), /gone/);
  first[Symbol.dispose]();
  const one = await third;
  assert.deepEqual(seated, ['third']);
  second[Symbol.dispose]();
  const other = await fourth;
  assert.deepEqual(seated, ['third', 'fourth']);
  assert.equal(seats.take(), undefined, 'a seat that is handed on is not free');
  for (const seat of [one, other]) seat[Symbol.dispose]();
  const free = [seats.take(), seats.take(), seats.take()];
  assert.deepEqual(
    free.map((seat) => seat !== undefined),
    [true, true, false],
  );
});
