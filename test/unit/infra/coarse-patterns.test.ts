import fc from 'fast-check';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { coarsePatterns } from '../../../infra/resources/coarse-patterns.ts';
import { globs } from '../../../lib/reference/globs.ts';

/** As IAM reads them. */
const matches = (patterns: readonly string[], path: string): boolean =>
  patterns.some((pattern) =>
    new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('?', '.').replaceAll('*', '.*')}$`).test(path),
  );

describe('coarse patterns', () => {
  const cases: [pattern: string, expected: string[]][] = [
    ['team/app', ['team/app']],
    ['**', ['*']],
    ['**/**', ['*']],
    ['**/*', ['*', '*/*']],
    ['team/**', ['team', 'team/*']],
    ['**/app', ['app', '*/app']],
    ['a/**/b', ['a/b', 'a/*/b']],
    ['team/*-base', ['team/*-base']],
    ['team/x{a,b}/c', ['team/xa/c', 'team/xb/c']],
    ['{team,other/{a,b}}/**', ['team', 'team/*', 'other/a', 'other/a/*', 'other/b', 'other/b/*']],
    ['team{,/**}', ['team', 'team/*']],
    ['team/{,app}', ['team/app']],
    ['?eam/app', ['?eam/app']],
    ['*{*,a}b', ['*b', '*ab']],
    ['[ab]*', ['a*', 'b*']],
    ['v[0-9].[0-9]{,-x}', ['', '-x'].flatMap((end) => '0123456789'.split('').map((one) => `v${one}.?${end}`))],
    ['*[ab]', ['*a', '*b']],
    ['*[!0-9a-y]', ['*z', '*.', '*_', '*-']],
    ['a[a-z]', ['a?']],
    ['{a,b,c,d}[a-z]', ['a?', 'b?', 'c?', 'd?']],
    ['[A-Z]/**', []],
    [`${'{,a}'.repeat(4)}b`, ['b', 'ab', 'aab', 'aaab', 'aaaab']],
  ];
  for (const [pattern, expected] of cases) {
    test(`${pattern} is said as far as IAM can say it`, () => assert.deepEqual(coarsePatterns(pattern), expected));
  }

  test('what excludes is no pattern, and never everything', () => {
    for (const pattern of ['!team/**', '!(team)/**', 'team/!(x)', '+(a)']) {
      assert.throws(() => coarsePatterns(pattern), SyntaxError, pattern);
    }
  });

  test('too many are refused rather than widened', () => {
    for (const pattern of [
      `${'abcdefgh'
        .split('')
        .map((one) => `{,${one}}`)
        .join('')}/b`,
      '{,a,b,c}[a-z]*',
      '{a,b}'.repeat(200),
      `{${'x{a,b},'.repeat(60)}y}/**`,
    ]) {
      assert.throws(() => coarsePatterns(pattern), /stands for more than 100 patterns of IAM/, pattern);
    }
  });

  test('many "**" stay few patterns', () => {
    assert.equal(coarsePatterns(`${'a/**/'.repeat(200)}b`).length, 8);
    const found = coarsePatterns(`${'a/**/'.repeat(5)}b`);
    assert.ok(matches(found, `${'a/'.repeat(5)}b`) && matches(found, `${'a/x/y/'.repeat(5)}b`));
    assert.ok(!matches(found, `${'a/'.repeat(4)}b`));
  });

  test('match whatever the pattern matches, and everything only where the pattern does', () => {
    const part = fc.constantFrom(
      'a',
      'b',
      '*',
      '**',
      'a*',
      '*b',
      '{a,b}',
      '{a,b/**}',
      '{,a}',
      '?',
      '[ab]',
      'a[!a]',
      'a{,?}',
    );
    const glob = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const path = fc
      .array(fc.constantFrom('a', 'b', 'ab', 'aab', 'c'), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join('/'));
    let matched = 0;
    fc.assert(
      fc.property(glob, path, (pattern, name) => {
        const coarse = coarsePatterns(pattern);
        if (globs([pattern])(name)) {
          matched++;
          assert.ok(matches(coarse, name), `${pattern} matches ${name}`);
        }
        if (coarse.includes('*')) assert.ok(globs([pattern])('some-name'), `${pattern} means any name`);
        // Without what IAM's wildcards take too much of, it is the same.
        if (!/[*?!]/.test(pattern))
          assert.equal(matches(coarse, name), globs([pattern])(name), `${pattern} and ${name}`);
      }),
      { numRuns: 3_000 },
    );
    assert.ok(matched > 100, `${matched} matched`);
  });
});
