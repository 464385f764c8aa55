import assert from 'node:assert/strict';
import { test } from 'node:test';
import { preferredWaitSeconds } from '../../../../lib/http/control/pulls.ts';

test('the preference to wait', () => {
  const cases: [string | undefined, number | undefined][] = [
    [undefined, undefined],
    ['', undefined],
    ['wait=10', 10],
    ['wait=0', 0],
    ['Wait = 5', 5],
    ['wait="7"', 7],
    ['respond-async, wait=3', 3],
    ['wait=3, wait=9', 3],
    ['handling=lenient; x=1, wait=4; foo=bar', 4],
    ['return=minimal,wait=12,x', 12],
    ['respond-async', undefined],
    ['waiting=3', undefined],
    ['wait', undefined],
    ['wait=', undefined],
    ['wait=-1', undefined],
    ['wait=1.5', undefined],
    ['wait=soon', undefined],
    ['wait="7', undefined],
    ['wait=99999999999999999999', undefined],
    ['x="wait=3"', undefined],
  ];
  for (const [header, seconds] of cases) assert.equal(preferredWaitSeconds(header), seconds, header);
});
