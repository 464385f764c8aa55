import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { setImmediate as settled } from 'node:timers/promises';
import { startHeartbeat, type Heartbeat } from '../../../lib/lock/heartbeat.ts';

const DURATION_MS = 30_000;

let nowMs = 0;
let heartbeat: Heartbeat;
let renewals: number[];
let losses: { atMs: number; why: string; cause: unknown }[];

describe('the heartbeat of a lease', () => {
  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval'] });
    nowMs = 0;
    renewals = [];
    losses = [];
  });
  afterEach(async () => {
    await heartbeat.stop();
    mock.timers.reset();
  });

  function start(renew: () => Promise<boolean>, startedMs = 0): void {
    heartbeat = startHeartbeat({
      durationMs: DURATION_MS,
      startedMs,
      renew: () => {
        renewals.push(nowMs);
        return renew();
      },
      onLost: (why, cause) => losses.push({ atMs: nowMs, why, cause }),
      nowMs: () => nowMs,
    });
  }

  /** Lets the clock run, second by second. */
  async function run(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      nowMs += 1_000;
      mock.timers.tick(1_000);
      await settled();
    }
  }

  test('renews three times in each duration, for ever', async () => {
    start(() => Promise.resolve(true));
    await run(95);
    assert.deepEqual(
      renewals,
      [10, 20, 30, 40, 50, 60, 70, 80, 90].map((second) => second * 1_000),
    );
    assert.deepEqual(losses, []);
  });

  test('loses at the first renewal that says so, once, and beats no more', async () => {
    start(() => Promise.resolve(false));
    await run(60);
    assert.deepEqual(renewals, [10_000]);
    assert.deepEqual(losses, [{ atMs: 10_000, why: 'another process holds it', cause: undefined }]);
  });

  test('loses a whole duration after the last renewal that got through, and says what stood in the way', async () => {
    const failure = new Error('no connection');
    let isUp = true;
    start(() => (isUp ? Promise.resolve(true) : Promise.reject(failure)));
    await run(25);
    isUp = false;
    await run(60);
    assert.deepEqual(renewals, [10_000, 20_000, 30_000, 40_000, 50_000]);
    assert.deepEqual(losses, [{ atMs: 51_000, why: 'it could not be renewed for 30000 ms', cause: failure }]);
  });

  test('an acquisition that was long under way is renewed at once', async () => {
    nowMs = 29_000;
    start(() => Promise.resolve(true), 0);
    await run(15);
    assert.deepEqual(renewals, [29_000, 39_000]);
    assert.equal(losses.length, 0);
  });

  test('one renewal that gets through in time is enough', async () => {
    let beats = 0;
    start(() => (++beats % 2 === 0 ? Promise.resolve(true) : Promise.reject(new Error('no connection'))));
    await run(120);
    assert.equal(renewals.length, 12);
    assert.deepEqual(losses, []);
  });

  test('counts from when the renewal was sent, not from when its answer came', async () => {
    let answer = (_held: boolean): void => undefined;
    start(
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    );
    await run(15);
    answer(true); // sent at 10 s
    await run(24);
    assert.equal(losses.length, 0);
    await run(3);
    assert.deepEqual(
      losses.map(({ atMs }) => atMs),
      [42_000],
    );
    answer(true);
  });

  test('a process that slept longer than the lease has lost it', async () => {
    start(() => Promise.resolve(true));
    await run(5);
    nowMs += 3_600_000; // the timers did not run
    mock.timers.tick(3_000);
    await settled();
    assert.equal(losses.length, 1);
  });

  test('stop waits for the renewal under way; what that says is no loss any more', async () => {
    let answer = (_held: boolean): void => undefined;
    start(
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    );
    await run(10);
    let isStopped = false;
    const stopping = heartbeat.stop().then(() => (isStopped = true));
    await run(40);
    assert.equal(isStopped, false);
    answer(false);
    await stopping;
    assert.deepEqual(losses, []);
    assert.deepEqual(renewals, [10_000]);
  });
});
