import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hopsOf, MAX_HOPS, nextHop } from '../../../../lib/http/registry/registry-route.ts';

test('a hop is counted as often as the client was sent back', () => {
  let count = 0;
  for (let hop = 1; hop <= MAX_HOPS; hop += 1) {
    count = hopsOf(nextHop(count));
    assert.equal(count, hop);
  }
});

test('what is missing, over or no token counts as the first hop', (context) => {
  const token = nextHop(3);
  for (const wrong of [
    undefined,
    '',
    '4',
    `${token}x`,
    token.slice(0, -1),
    `-${token}`,
    `1${token}`,
    '0.9999999999999',
    'a.b',
  ]) {
    assert.equal(hopsOf(wrong), 0, String(wrong));
  }
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 });
  assert.equal(hopsOf(token), 0);
});
