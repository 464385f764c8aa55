import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openActivity } from '../../../infra/local/app/activity.ts';

test('what happens is listed from its beginning, and shown as it happens', () => {
  const lines: string[] = [];
  const activity = openActivity((message, { durationMs: _, ...fields }) =>
    lines.push(`${message} ${JSON.stringify(fields)}`),
  );
  const requested = activity.begin('requests', { path: '/v1/pull' });
  const ran = activity.begin('runs', { name: 'one' });
  const states = () => [activity.recent('requests')[0]?.state, activity.recent('runs')[0]?.state];
  assert.deepEqual(states(), ['running', 'running']);
  ran({ status: 'FAILED' });
  requested({ status: 502 });
  assert.deepEqual(states(), ['ended', 'ended']);
  const { time, durationMs, ...rest } = activity.recent('runs')[0] ?? { time: '' };
  assert.match(time, /^\d{4}-\d\d-\d\dT/);
  assert.ok(Number(durationMs) >= 0);
  assert.deepEqual(rest, { state: 'ended', name: 'one', status: 'FAILED' });
  assert.deepEqual(activity.recent('warmups'), []);
  assert.deepEqual(lines, [
    'workflow run began {"name":"one"}',
    'workflow run ended {"name":"one","status":"FAILED"}',
    'request {"path":"/v1/pull","status":502}',
  ]);
});

test('the last two hundred of a kind are kept; one that ends later is shown all the same', () => {
  const lines: string[] = [];
  const activity = openActivity((message) => lines.push(message));
  const ended = activity.begin('requests', { path: '/first' });
  for (let count = 0; count < 200; count += 1) activity.begin('requests', { path: `/${count}` });
  activity.begin('runs', {});
  ended({ status: 200 });
  assert.deepEqual(lines, ['workflow run began', 'request']);
  const paths = activity.recent('requests').map(({ path }) => path);
  assert.deepEqual([paths.length, paths[0], paths[199]], [200, '/0', '/199']);
  assert.equal(activity.recent('runs').length, 1);
});
