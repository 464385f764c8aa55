import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acquire, type HeldLease, type Lease, type LeaseWatch } from '../../../lib/lock/lease.ts';
import { sleep } from '../../../lib/async/time.ts';

const forever = new AbortController().signal;
const held: HeldLease = { holder: 'h', version: 'v', durationMs: 1_000, leaseUntilMs: 0 };
const ours: Lease = {
  ...{ name: 'n', holder: 'us', generation: 1, signal: forever, row: {} },
  stopRenewing: () => Promise.resolve(),
  release: () => Promise.resolve(),
  letGo: () => Promise.resolve(),
  markReleased: () => undefined,
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

test('tries until the lease is ours, with one memory of what it saw', async () => {
  const watches = new Set<LeaseWatch>();
  let tries = 0;
  const tryAcquire = (name: string, watch: LeaseWatch): Promise<Lease | HeldLease> => {
    assert.equal(name, 'n');
    watches.add(watch);
    tries += 1;
    return Promise.resolve(tries < 4 ? held : ours);
  };
  assert.equal(await acquire({ tryAcquire }, 'n', forever), ours);
  assert.equal(tries, 4);
  assert.equal(watches.size, 1);
});

test('what a try throws ends the wait', async () => {
  const failure = new Error('the table is gone');
  await assert.rejects(acquire({ tryAcquire: () => Promise.reject(failure) }, 'n', forever), failure);
});

test("sleep throws the signal's reason, at once where it fired already", async () => {
  const reason = new Error('enough');
  await assert.rejects(sleep(60_000, AbortSignal.abort(reason)), reason);
  const stop = new AbortController();
  const sleeping = sleep(60_000, stop.signal);
  stop.abort(reason);
  await assert.rejects(sleeping, reason);
  await sleep(1, forever);
});
