import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lazily, lazy } from '../../../lib/async/lazily.ts';

interface Doubler {
  double(number: number): Promise<number>;
}

test('a lazy thing is opened once, by its first use', async () => {
  let opened = 0;
  const doubler = lazily<Doubler>(
    async () => {
      opened++;
      await Promise.resolve();
      return { double: (number) => Promise.resolve(number * 2) };
    },
    { double: true },
  );
  assert.equal(opened, 0);
  assert.deepEqual(await Promise.all([doubler.double(1), doubler.double(2)]), [2, 4]);
  assert.equal(opened, 1);
});

test('one that could not be opened is tried anew', async () => {
  let tries = 0;
  const thing = lazy(() => (++tries === 1 ? Promise.reject(new Error('first')) : Promise.resolve(tries)));
  await assert.rejects(thing.get(), /first/);
  assert.equal(await thing.get(), 2);
});

test('only what was opened is closed, also while it is being opened', async () => {
  const closed: string[] = [];
  const open = (name: string) =>
    lazy(
      () => Promise.resolve(name),
      (opened) => void closed.push(opened),
    );
  const [never, opening] = [open('never'), open('opening')];
  const got = opening.get();
  await Promise.all([never.close(), opening.close(), got]);
  assert.deepEqual(closed, ['opening']);
  const broken = lazy<string>(
    () => Promise.reject(new Error('broken')),
    (name) => void closed.push(name),
  );
  const failed = assert.rejects(broken.get(), /broken/);
  await Promise.all([broken.close(), failed]);
  assert.deepEqual(closed, ['opening']);
});
