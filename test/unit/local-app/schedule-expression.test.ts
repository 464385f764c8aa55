import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSchedule } from '../../../infra/local/app/scheduler.ts';

const START = '2026-03-01T00:00:30Z';

/** The first `count` times of the schedule after `from`. */
function times(expression: string, count: number, { timeZone = 'UTC', from = START } = {}): string[] {
  const firing = parseSchedule(expression, timeZone, Date.parse(START));
  const found: string[] = [];
  for (let afterMs = Date.parse(from); found.length < count;) {
    const next = firing.next(afterMs);
    if (next === undefined) break;
    found.push(new Date(next).toISOString().replace('.000Z', 'Z'));
    afterMs = next;
  }
  return found;
}

describe('schedules of EventBridge', () => {
  test('a rate counts from its start', () => {
    assert.deepEqual(times('rate(5 minutes)', 2), ['2026-03-01T00:05:30Z', '2026-03-01T00:10:30Z']);
    assert.deepEqual(times('rate(1 hour)', 1, { from: '2026-03-01T05:10:00Z' }), ['2026-03-01T06:00:30Z']);
    assert.deepEqual(times('rate(2 days)', 1), ['2026-03-03T00:00:30Z']);
  });

  test('a cron has six fields, with year and question mark', () => {
    assert.deepEqual(times('cron(0 3 * * ? *)', 2), ['2026-03-01T03:00:00Z', '2026-03-02T03:00:00Z']);
    assert.deepEqual(times('cron(0/20 8-9 1 JAN,MAR ? 2026)', 7), [
      '2026-03-01T08:00:00Z',
      '2026-03-01T08:20:00Z',
      '2026-03-01T08:40:00Z',
      '2026-03-01T09:00:00Z',
      '2026-03-01T09:20:00Z',
      '2026-03-01T09:40:00Z',
    ]);
    assert.deepEqual(times('cron(0 0 L * ? *)', 2), ['2026-03-31T00:00:00Z', '2026-04-30T00:00:00Z']);
  });

  test('Sunday is 1', () => {
    // 1 March 2026 is a Sunday.
    assert.deepEqual(times('cron(0 12 ? * 1 *)', 2), ['2026-03-01T12:00:00Z', '2026-03-08T12:00:00Z']);
    assert.deepEqual(times('cron(0 12 ? * MON-TUE *)', 2), ['2026-03-02T12:00:00Z', '2026-03-03T12:00:00Z']);
    assert.deepEqual(times('cron(0 12 ? * 2-6 *)', 1), ['2026-03-02T12:00:00Z']);
    assert.deepEqual(times('cron(0 12 ? * 3#2 *)', 1), ['2026-03-10T12:00:00Z'], 'the second Tuesday');
    assert.deepEqual(times('cron(0 12 ? * 6L *)', 1), ['2026-03-27T12:00:00Z'], 'the last Friday');
    assert.deepEqual(times('cron(0 12 ? * L *)', 1), ['2026-03-07T12:00:00Z'], 'Saturday');
  });

  test('a time zone moves with its summer time', () => {
    const [before, after] = times('cron(0 3 28,29 3 ? 2026)', 2, { timeZone: 'Europe/Berlin' });
    assert.deepEqual([before, after], ['2026-03-28T02:00:00Z', '2026-03-29T01:00:00Z']);
  });

  test('refuses what EventBridge refuses, and names it', () => {
    const wrong = [
      'every day',
      'rate(0 minutes)',
      'rate(1 minutes)',
      'rate(5 minute)',
      'rate(5 weeks)',
      'cron(0 3 * * ?)',
      'cron(0 3 * * * *)',
      'cron(0 3 ? * ? *)',
      'cron(61 3 * * ? *)',
      'at(2026-03-01T00:00:00)',
    ];
    for (const expression of wrong) {
      assert.throws(
        () => parseSchedule(expression, 'UTC', 0),
        (error: Error) => error.message.startsWith(`${expression} is not a valid schedule`),
        expression,
      );
    }
    assert.throws(() => parseSchedule('cron(0 3 * * ? *)', 'Mars/Olympus', 0).next(0));
  });
});
