import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseChallenges } from '../../../lib/registry/challenge.ts';

const parsed = (header: string | string[] | undefined): [string, Record<string, string>][] =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

const cases: [string, string | string[] | undefined, [string, Record<string, string>][]][] = [
  ['nothing', undefined, []],
  ['empty', '', []],
  [
    'Docker Hub',
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"',
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/alpine:pull',
        },
      ],
    ],
  ],
  [
    'commas in quotes',
    'Bearer realm="https://a.test/t",scope="repository:a:pull,push",error="insufficient_scope"',
    [['bearer', { realm: 'https://a.test/t', scope: 'repository:a:pull,push', error: 'insufficient_scope' }]],
  ],
  [
    'several in one header',
    'Negotiate, Basic realm="a, b", Bearer realm="https://a.test/t"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'a, b' }],
      ['bearer', { realm: 'https://a.test/t' }],
    ],
  ],
  [
    'several headers',
    ['Basic realm="x"', 'BEARER Realm="https://a.test/t"'],
    [
      ['basic', { realm: 'x' }],
      ['bearer', { realm: 'https://a.test/t' }],
    ],
  ],
  [
    'spaces around equals signs and commas',
    'bearer  realm = "https://a.test/t" ,  service= "s"',
    [['bearer', { realm: 'https://a.test/t', service: 's' }]],
  ],
  [
    'no quotes',
    'Bearer realm=https://a.test:5001/t?x=y,service=registry',
    [['bearer', { realm: 'https://a.test:5001/t?x=y', service: 'registry' }]],
  ],
  ['escapes', 'Basic realm="say \\"hi\\", you"', [['basic', { realm: 'say "hi", you' }]]],
  ['no last quote', 'Bearer realm="https://a.test/t', [['bearer', { realm: 'https://a.test/t' }]]],
  ['a parameter without scheme', 'realm="x"', []],
  ['the first of a repeated parameter', 'Basic realm="a",realm="b"', [['basic', { realm: 'a' }]]],
];

for (const [name, header, expected] of cases) {
  test(`challenge: ${name}`, () => assert.deepEqual(parsed(header), expected));
}

test('challenge: any text ends without throwing', () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => void parseChallenges(text)));
});

test('challenge: what is written with quotes comes back', () => {
  const name = fc.stringMatching(/^[a-z]{1,10}$/);
  const value = fc.string({ unit: 'grapheme-ascii', maxLength: 30 });
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 5 }), (parameters) => {
      const quoted = parameters.map(([key, text]) => `${key}="${text.replace(/[\\"]/g, '\\$&')}"`);
      const [found] = parseChallenges(`Bearer ${quoted.join(', ')}`);
      assert.deepEqual([...found!.parameters], parameters);
    }),
  );
});
