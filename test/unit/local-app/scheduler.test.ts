import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startScheduler, type Schedule } from '../../../infra/local/app/scheduler.ts';

const schedule = (name: string, expression: string): Schedule => ({
  name,
  expression,
  timeZone: 'UTC',
  functionName: `${name}-function`,
  event: (time) => ({ time }),
});

test('each schedule fires at its times, with the time that it was for', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.parse('2026-03-01T00:00:00Z') });
  const delivered: unknown[] = [];
  const deliveries = {
    deliver: (name: string, event: unknown) => void delivered.push([name, event]),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const scheduler = startScheduler(
    [
      schedule('often', 'rate(5 minutes)'),
      schedule('nightly', 'cron(7 0 * * ? *)'),
      schedule('far', 'cron(0 0 1 1 ? 2027)'),
    ],
    deliveries,
  );
  for (let minute = 0; minute < 11; minute += 1) context.mock.timers.tick(60_000);
  assert.deepEqual(delivered, [
    ['often-function', { time: '2026-03-01T00:05:00Z' }],
    ['nightly-function', { time: '2026-03-01T00:07:00Z' }],
    ['often-function', { time: '2026-03-01T00:10:00Z' }],
  ]);
  assert.deepEqual(
    scheduler.schedules().map(({ name, next }) => [name, next]),
    [
      ['often', '2026-03-01T00:15:00Z'],
      ['nightly', '2026-03-02T00:07:00Z'],
      ['far', '2027-01-01T00:00:00Z'],
    ],
  );
  assert.equal(scheduler.fire('nightly'), '2026-03-01T00:11:00Z');
  assert.equal(scheduler.fire('hourly'), undefined);
  assert.equal(delivered.length, 4);
  scheduler[Symbol.dispose]();
  context.mock.timers.tick(24 * 3_600_000);
  assert.equal(delivered.length, 4);
});
