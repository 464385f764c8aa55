import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDeadline } from '../../../lib/async/time.ts';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import { workMsOf } from '../../../lib/lambda/handler.ts';

test('the work ends a margin before the invocation: 10 s, or 15 % of a short one', () => {
  assert.equal(workMsOf(900_000, false), 890_000);
  assert.equal(workMsOf(20_000, false), 17_000);
  assert.equal(workMsOf(0, false), 0);
  assert.equal(workMsOf(-5, false), 0);
});

test('an answer over HTTP takes 25 s at most', () => {
  assert.equal(workMsOf(900_000, true), 25_000);
  assert.equal(workMsOf(10_000, true), 8_500);
});

test('the deadline aborts with a DeadlineError', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  using deadline = startDeadline(1000);
  context.mock.timers.tick(999);
  assert.equal(deadline.signal.aborted, false);
  context.mock.timers.tick(1);
  assert.ok(deadline.signal.reason instanceof DeadlineError);
});

test('a deadline that was disposed never aborts', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const deadline = startDeadline(1000);
  deadline[Symbol.dispose]();
  context.mock.timers.tick(5000);
  assert.equal(deadline.signal.aborted, false);
});
