import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progressOf, type PullRecord } from '../../../lib/jobs/pull-record.ts';
import { amount, requestOf } from '../../conformance/pull-records-subject.ts';

const PLANNED_MS = 1_000_000;

const record = (more: Partial<PullRecord>): PullRecord => ({
  id: 'id',
  request: requestOf('alpine'),
  state: 'running',
  createdMs: PLANNED_MS - 500,
  askedMs: PLANNED_MS - 500,
  updatedMs: PLANNED_MS,
  plans: 1,
  plannedMs: PLANNED_MS,
  planned: { total: amount(5, 1_500), missing: amount(3, 1_000) },
  copied: amount(1, 250),
  ...more,
});

test('a pull that was not planned yet has no progress', () => {
  const { planned: _, plannedMs: __, ...queued } = record({ state: 'queued' });
  assert.equal(progressOf(queued, PLANNED_MS), undefined);
});

test('the rate counts from the plan, and the rest goes on like that', () => {
  assert.deepEqual(progressOf(record({}), PLANNED_MS + 2_000), {
    total: amount(5, 1_500),
    missing: amount(3, 1_000),
    copied: amount(1, 250),
    bytesPerSecond: 125,
    etaSeconds: 6,
  });
});

test('nothing copied, or no time gone by, has no end in sight', () => {
  assert.partialDeepStrictEqual(progressOf(record({ copied: amount(0, 0) }), PLANNED_MS + 2_000), {
    bytesPerSecond: 0,
    etaSeconds: null,
  });
  // The clock of another machine wrote the plan.
  for (const nowMs of [PLANNED_MS, PLANNED_MS - 700]) {
    assert.partialDeepStrictEqual(progressOf(record({}), nowMs), { bytesPerSecond: null, etaSeconds: null });
  }
});

test('nothing left to copy is 0 seconds, also where nothing was missing', () => {
  assert.equal(progressOf(record({ copied: amount(3, 1_000) }), PLANNED_MS + 1)?.etaSeconds, 0);
  const hit = record({ planned: { total: amount(5, 1_500), missing: amount(0, 0) }, copied: amount(0, 0) });
  assert.equal(progressOf(hit, PLANNED_MS)?.etaSeconds, 0);
});

test('never more than was missing: a late batch of an older plan may count too much', () => {
  const late = progressOf(record({ copied: amount(9, 9_999) }), PLANNED_MS + 1_000);
  assert.partialDeepStrictEqual(late, { copied: amount(3, 1_000), bytesPerSecond: 1_000, etaSeconds: 0 });
});

test('a pull that ended stands still', () => {
  const failed = record({ state: 'failed', endedMs: PLANNED_MS + 1_000 });
  assert.partialDeepStrictEqual(progressOf(failed, PLANNED_MS + 60_000), { bytesPerSecond: 250, etaSeconds: null });
  const done = record({ state: 'succeeded', endedMs: PLANNED_MS + 1_000 });
  assert.partialDeepStrictEqual(progressOf(done, PLANNED_MS + 60_000), { bytesPerSecond: 250, etaSeconds: 0 });
});
