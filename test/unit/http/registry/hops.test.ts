import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hops } from '../../../../lib/http/registry/hops.ts';

const keyed = (text: string) => hops({ key: (purpose) => Promise.resolve(Buffer.from(`${text} ${purpose}`)) });
const signal = new AbortController().signal;
const PATH = '/v2/library/alpine/blobs/sha256:abc';

test('a hop is counted by whoever has the key, for the same path alone', async () => {
  const ours = keyed('ours');
  const token = await ours.next(0, PATH, signal);
  assert.equal(await ours.count(token, PATH, signal), 1);
  assert.equal(await keyed('ours').count(await ours.next(7, PATH, signal), PATH, signal), 8);
  assert.equal(await ours.count(token, `${PATH}d`, signal), 0);
  assert.equal(await keyed('theirs').count(token, PATH, signal), 0);
});

test('what is missing, changed, over or no token counts as the first hop', async (context) => {
  const ours = keyed('ours');
  const token = await ours.next(3, PATH, signal);
  for (const wrong of [undefined, '', token.replace(/^4/, '1'), `${token}x`, token.slice(0, -1), 'a.b.c']) {
    assert.equal(await ours.count(wrong, PATH, signal), 0, String(wrong));
  }
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 });
  assert.equal(await ours.count(token, PATH, signal), 0);
});
