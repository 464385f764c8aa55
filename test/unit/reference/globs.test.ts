import fc from 'fast-check';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type CompiledGlob,
  compileGlob,
  type Glob,
  globs,
  matchesGlob,
  parseGlob,
} from '../../../lib/reference/globs.ts';

describe('a pattern', () => {
  const cases: [pattern: string, matched: string[], others: string[]][] = [
    ['team/app', ['team/app'], ['team', 'team/app/x', 'team/apps', 'xteam/app', 'Team/app', '']],
    ['*', ['a', '.a', 'a.b-c_d'], ['a/b', '/', '']],
    ['team/*', ['team/a', 'team/.a'], ['team', 'team/a/b', 'teams/a']],
    ['*/team/**', ['ghcr.io/team', 'ghcr.io/team/a/b'], ['team/a', 'a/b/team/c']],
    ['team/*-base', ['team/-base', 'team/x-base'], ['team/x-base-y', 'team/x/y-base']],
    ['*a*b*', ['ab', 'xaxbx', 'aab'], ['ba', 'a/b']],
    ['**', ['a', 'a/b', 'a/b/c', '.a/.b'], ['']],
    ['team/**', ['team', 'team/a', 'team/a/b'], ['teams', 'teams/a', 'a/team']],
    ['**/app', ['app', 'a/app', 'a/b/app'], ['xapp', 'a/xapp', 'app/a']],
    ['a/**/b', ['a/b', 'a/x/b', 'a/x/y/b', 'a/b/b'], ['ab', 'a/xb', 'ax/b', 'a', 'b']],
    ['**/**', ['a', 'a/b/c'], ['']],
    ['**/a/**', ['a', 'x/a', 'a/x', 'x/y/a/z'], ['x', 'ab', 'xa/b']],
    ['?', ['a', '.', '1'], ['ab', '/', '']],
    ['v?.?', ['v1.2', 'v..x'], ['v1.22', 'v1/2']],
    ['a?b', ['a-b'], ['a/b', 'ab']],
    ['{a,b}', ['a', 'b'], ['c', 'ab', '{a,b}', 'a,b']],
    ['nginx{,-alpine}', ['nginx', 'nginx-alpine'], ['nginx-', 'nginx-alpine-']],
    ['{,a/}b', ['b', 'a/b'], ['a', '/b']],
    ['{ghcr.io,docker.io/library}/**', ['ghcr.io/a', 'docker.io/library', 'docker.io/library/a'], ['docker.io/a']],
    ['{a{b,c{d,e}},f}g', ['abg', 'acdg', 'aceg', 'fg'], ['ag', 'acg', 'afg']],
    ['{a,**}/b', ['a/b', 'b', 'x/y/b'], ['a', 'xb']],
    ['{a/**,b}', ['a', 'a/x', 'b'], ['b/x']],
    ['a{/**,-x}', ['a', 'a/b/c', 'a-x'], ['ax', 'a-x/b']],
    ['a/**{,/b}', ['a', 'a/b', 'a/c'], ['ab']],
    ['{*,?}', ['a', 'abc'], ['a/b']],
    ['*{*,b}', ['a', 'ab', 'b'], ['a/b']],
    ['[abc]', ['a', 'c'], ['d', 'ab', '']],
    ['[a-c1-3_-]x', ['bx', '2x', '_x', '-x'], ['dx', '4x', 'x']],
    ['[-a]', ['-', 'a'], ['b']],
    ['[!a-c]', ['d', '-', '!'], ['a', '/', 'dd']],
    ['[^a]', ['b', '^'], ['a', '/']],
    ['[+-9]', ['+', '5', '.'], ['/', 'a']],
    ['[*?{},(|]', ['*', '?', '{', '}', ',', '(', '|'], ['a', '[']],
    ['{[,],x}', [',', 'x'], ['[,]']],
    ['[é-ü]', ['ê'], ['e']],
    ['?x', ['😀x'], ['😀😀x']],
    ['?::1?:5000/**', ['[::1]:5000/team/app'], ['[::2]:5000/team/app']],
    ['arn:aws:iam::*:user/**', ['arn:aws:iam::123456789012:user/a/jane'], ['arn:aws:iam::123456789012:role/jane']],
    ['CN=Platform, OU=+x@y', ['CN=Platform, OU=+x@y'], ['CN=Platform']],
    ['.+^$a', ['.+^$a'], ['aaaa', 'xa']],
  ];
  for (const [pattern, matched, others] of cases) {
    test(pattern, () => {
      const matches = globs([pattern]);
      assert.deepEqual([...matched, ...others].filter(matches), matched);
    });
  }

  test('is one of several, of which one has to match; of none, none does', () => {
    assert.deepEqual(['a', 'b/c', 'c'].filter(globs(['a', 'b/**'])), ['a', 'b/c']);
    assert.ok(!globs([])('a'));
  });
});

describe('what is no pattern says why', () => {
  const cases: [pattern: string, why: RegExp][] = [
    ['!team/secret', /^the "!" at character 1 excludes nothing: list what to include$/],
    ['team/!x', /"!" at character 6/],
    ['!(a)', /"!" at character 1/],
    ['+(*a)', /^the "\(" at character 2 is not allowed$/],
    ['@(a|b)', /"\("/],
    ['*(a)', /"\("/],
    ['?(a)', /"\("/],
    ['{+(*a),b}', /"\("/],
    ['a|b', /"\|" at character 2/],
    ['a)', /"\)"/],
    ['a\\*', /"\\\\" at character 2/],
    ['a\u0000', /"\\u0000"/],
    ['{a', /^the "\{" at character 1 is not closed$/],
    ['{a,{b,c}', /"\{" at character 1 is not closed/],
    ['a}', /^the "\}" at character 2 closes nothing$/],
    ['{a,b}}', /"\}" at character 6 closes nothing/],
    ['{a}', /have no comma: a choice is \{a,b\}/],
    ['{}', /have no comma/],
    ['{1..3}', /have no comma/],
    ['[a', /^the "\[" at character 1 is not closed$/],
    ['a]', /"\]" at character 2 closes nothing/],
    ['[]', /^nothing is in the class \[\]/],
    ['[!]', /nothing is in the class \[!\]/],
    ['[]a]', /nothing is in the class/],
    ['[[a]', /"\[" is not allowed in the class \[\[a\]/],
    ['[[:alpha:]]', /"\[" is not allowed/],
    ['[:alpha:]', /":" is twice in the class/],
    ['[::1]:5000/**', /":" is twice in the class \[::1\], which stands for one character/],
    ['[a/b]', /"\/" is not allowed/],
    ['[\\w]', /"\\\\" is not allowed/],
    ['[z-a]', /the range z-a is backwards/],
    ['[a-c-e]', /a "-" between ranges is in the class/],
    ['team**', /"\*\*" has to stand alone between slashes/],
    ['**team', /stand alone/],
    ['***', /stand alone/],
    ['a/**b/c', /stand alone/],
    ['{a,b}**', /stand alone/],
    ['{,a}**', /stand alone/],
    ['x{**,b}', /stand alone/],
    ['{**,b}x', /stand alone/],
    ['**{/a,b}', /stand alone/],
    ['?**', /stand alone/],
    ['a'.repeat(1025), /longer than 1024 characters/],
  ];
  for (const [pattern, why] of cases) {
    test(pattern.slice(0, 40), () => {
      assert.throws(
        () => globs([pattern]),
        (error) => {
          assert.ok(error instanceof SyntaxError);
          assert.match(error.message, why);
          return true;
        },
      );
    });
  }
});

/** Each token by itself, by trying everything. A name is read as its parts, each with a "/" before it. */
function naive(pattern: string): (name: string) => boolean {
  const expressions = expanded(parseGlob(pattern)).map((flat) => {
    const parts = flat.join('').split('/');
    return new RegExp(`^${parts.map((part) => (part === '{depth}' ? '(?:/[^/]*)*' : `/${part}`)).join('')}$`, 'u');
  });
  return (name) => name !== '' && expressions.some((expression) => expression.test(`/${name}`));
}

function expanded(glob: Glob): string[][] {
  return glob.reduce<string[][]>(
    (begun, token) => {
      const each = (...ends: string[][]): string[][] => begun.flatMap((one) => ends.map((end) => [...one, ...end]));
      switch (token.kind) {
        case 'choice':
          return each(...token.of.flatMap(expanded));
        case 'character':
          return each([token.character.replace('.', '\\.')]);
        case 'class':
          return each([
            `(?:${
              ALPHABET.filter(token.accepts)
                .map((one) => one.replace('.', '\\.'))
                .join('|') || '(?!)'
            })`,
          ]);
        case 'any':
          return each(['[^/]']);
        case 'star':
          return each(['[^/]*']);
        case 'depth':
          return each(['{depth}']);
      }
    },
    [[]],
  );
}

const ALPHABET = 'abc.-1'.split('');
const NAME = fc
  .array(fc.string({ unit: fc.constantFrom(...ALPHABET), minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/'));
const { pattern: PATTERN } = fc.letrec<{ pattern: string; token: string; choice: string }>((tie) => ({
  pattern: fc.array(tie('token'), { maxLength: 5 }).map((tokens) => tokens.join('')),
  token: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      'a',
      'b',
      '.',
      '/',
      '/',
      '*',
      '**',
      '/**/',
      '**/',
      '/**',
      '?',
      '[ab]',
      '[!a]',
      '[a-c]',
      '[^-1]',
      '',
    ),
    tie('choice'),
  ),
  choice: fc.array(tie('pattern'), { minLength: 2, maxLength: 3 }).map((of) => `{${of.join(',')}}`),
}));

const isGlob = (pattern: string): boolean => {
  try {
    return parseGlob(pattern).length >= 0;
  } catch (error) {
    assert.ok(error instanceof SyntaxError, String(error));
    return false;
  }
};

test('matches what trying everything matches', () => {
  let matched = 0;
  fc.assert(
    fc.property(PATTERN.filter(isGlob), fc.array(NAME, { minLength: 5, maxLength: 5 }), (pattern, names) => {
      const [matches, tried] = [globs([pattern]), naive(pattern)];
      for (const name of names) {
        const expected = tried(name);
        assert.equal(matches(name), expected, `${pattern} and ${name}`);
        matched += Number(expected);
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(matched > 100, `${matched} matched`);
});

test('whatever is written is a pattern or is refused', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab*?{},[]!^-/\\()|+@:'.split('')) }), (text) => {
      if (isGlob(text)) globs([text])('a/b');
    }),
    { numRuns: 3_000 },
  );
});

describe('the work', () => {
  /** States looked at. */
  function work(pattern: string, name: string): number {
    const compiled = compileGlob(parseGlob(pattern));
    let count = 0;
    const states = new Proxy(compiled.states, {
      get: (all, key): unknown => {
        const value: unknown = Reflect.get(all, key);
        if (typeof value === 'object') count++;
        return value;
      },
    });
    const counted: CompiledGlob = { ...compiled, states };
    assert.ok(!matchesGlob(counted, name), 'has to be looked at to the end');
    return count;
  }

  const patterns = [
    `${'*a'.repeat(30)}b`,
    `${'{a,*}'.repeat(30)}b`,
    `${'{a,a}'.repeat(30)}*b`,
    `${'{,a,?,[a-z]}'.repeat(20)}*b`,
    `${'**/'.repeat(50)}b`,
    `${'**/*/'.repeat(30)}b`,
    `${'{a/,**/}'.repeat(30)}b`,
    `${'{a,'.repeat(50)}*${'}'.repeat(50)}b`,
    `{${'*a,'.repeat(30)}b}b`,
  ];
  for (const pattern of patterns) {
    test(`grows as the name does: ${pattern.slice(0, 30)}`, () => {
      for (const unit of ['a', 'a/']) {
        const at = (times: number): number => work(pattern, `${unit.repeat(times)}c`);
        // A few reads for each state and character: those of a state that is entered from several others among them.
        const bound = 4 * pattern.length;
        for (const times of [10, 100, 400]) {
          assert.ok(at(times) <= bound * (2 * times + 2), `${at(times)} for ${times} times ${unit}`);
        }
      }
    });
  }
});
