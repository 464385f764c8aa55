import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leaseWatch } from '../../../lib/lock/heartbeat.ts';

const held = (version: string, durationMs = 1_000) => ({ holder: 'h', version, durationMs, leaseUntilMs: 0 });

test('a version is unrenewed once it stood for the whole duration since it was first seen', () => {
  let nowMs = 100;
  const watch = leaseWatch(() => nowMs);
  assert.equal(watch.hasSeen(), false);
  assert.equal(watch.unrenewedVersion(), undefined);
  watch.saw(held('a'));
  assert.equal(watch.hasSeen(), true);
  nowMs += 500;
  watch.saw(held('a'));
  nowMs += 499;
  assert.equal(watch.unrenewedVersion(), undefined);
  nowMs += 1;
  assert.equal(watch.unrenewedVersion(), 'a');
});

test('a new version counts anew, with its own duration', () => {
  let nowMs = 0;
  const watch = leaseWatch(() => nowMs);
  watch.saw(held('a'));
  nowMs = 999;
  watch.saw(held('b', 5_000));
  nowMs = 5_998;
  assert.equal(watch.unrenewedVersion(), undefined);
  nowMs = 5_999;
  assert.equal(watch.unrenewedVersion(), 'b');
});

test('delays grow to a second, with jitter', () => {
  const watch = leaseWatch(() => 0);
  for (let look = 0; look < 30; look++) {
    const delays = Array.from({ length: 50 }, () => watch.nextDelayMs());
    const ceiling = Math.min(1_000, 40 * 2 ** look);
    assert.ok(delays.every((delay) => delay >= ceiling / 2 && delay <= ceiling));
    assert.ok(new Set(delays).size > 1);
    watch.saw(held('a'));
  }
});
