import fc from 'fast-check';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import picomatch from 'picomatch';
import { coarsePatterns } from '../../../infra/resources/coarse-patterns.ts';

/** As IAM and EventBridge read them. */
const matches = (patterns: readonly string[], path: string): boolean =>
  patterns.some((pattern) => new RegExp(`^${pattern.split('*').join('.*')}$`).test(path));

describe('coarse patterns', () => {
  test('are exact where IAM can say it', () => {
    assert.deepEqual(coarsePatterns('team/app'), ['team/app']);
    assert.deepEqual(coarsePatterns('**'), ['*']);
    assert.deepEqual(coarsePatterns('team/**'), ['team', 'team/*']);
    assert.deepEqual(coarsePatterns('**/app'), ['app', '*/app']);
    assert.deepEqual(coarsePatterns('a/**/b'), ['a/b', 'a/*/b']);
    assert.deepEqual(coarsePatterns('team/*-base'), ['team/*-base']);
  });

  test('stop before what only our globs know', () => {
    assert.deepEqual(coarsePatterns('team/x{a,b}/c'), ['team/x*']);
    assert.deepEqual(coarsePatterns('team/{a,b}/c'), ['team', 'team/*']);
    assert.deepEqual(coarsePatterns('!team/**'), ['*']);
  });

  test('match whatever the glob matches', () => {
    const part = fc.constantFrom('a', 'b', 'ab', '*', '**', 'a*', '*b', '{a,b}', '?', 'a+(b)', '[ab]', '!(a)');
    const glob = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const path = fc
      .array(fc.constantFrom('a', 'b', 'ab', 'aab', 'c'), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join('/'));
    fc.assert(
      fc.property(glob, path, (pattern, name) => {
        if (picomatch.isMatch(name, pattern)) {
          assert.ok(matches(coarsePatterns(pattern), name), `${pattern} matches ${name}`);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
