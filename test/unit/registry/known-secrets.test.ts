import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'node:test';
import { DeniedError } from '../../../lib/errors/cache-error.ts';
import { KnownSecrets } from '../../../lib/registry/secrets.ts';

const known = (...secrets: string[]): KnownSecrets => {
  const all = new KnownSecrets();
  all.add(...secrets);
  return all;
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const everyCharacter = (text: string, escape: (code: number) => string): string =>
  [...Buffer.from(text)].map(escape).join('');
const split = (text: string, every: number, by: string): string =>
  text.replace(new RegExp(`.{${every}}`, 'g'), (part) => part + by);
const hex2 = (code: number): string => code.toString(16).padStart(2, '0');

/** What a registry may make of a secret. */
const FORMS: Readonly<Record<string, (secret: string) => string>> = {
  'as it is': (secret) => secret,
  'percent-encoded': (secret) => encodeURIComponent(secret),
  'percent-encoded twice': (secret) => encodeURIComponent(encodeURIComponent(secret)),
  'percent-encoded throughout': (secret) => everyCharacter(secret, (code) => `%${hex2(code)}`),
  'as a form': (secret) => new URLSearchParams({ p: secret }).toString(),
  'in JSON': (secret) => JSON.stringify(secret),
  'in JSON within JSON': (secret) => JSON.stringify(JSON.stringify(secret)),
  'with \\u escapes': (secret) => everyCharacter(secret, (code) => `\\u00${hex2(code)}`),
  'with \\x escapes': (secret) => everyCharacter(secret, (code) => `\\x${hex2(code)}`),
  'in HTML': (secret) => secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;'),
  'in HTML by numbers': (secret) => everyCharacter(secret, (code) => `&#${code};`),
  'in hex': (secret) => Buffer.from(secret).toString('hex'),
  'in upper-case hex': (secret) => Buffer.from(secret).toString('hex').toUpperCase(),
  'in base64': base64,
  'in base64url': (secret) => Buffer.from(secret).toString('base64url'),
  'as Basic': (secret) => base64(`user:${secret}`),
  'as Basic of a longer name': (secret) => base64(`user-x:${secret}`),
  'split by line breaks': (secret) => split(secret, 5, '\r\n '),
  'split by blanks': (secret) => split(secret, 3, ' '),
  'split by what no one sees': (secret) => split(secret, 2, '\u200b\u00ad'),
  'split by NUL': (secret) => split(secret, 1, '\0'),
  'split by line breaks in JSON': (secret) => JSON.stringify(split(secret, 6, '\n')),
  'split by encoded line breaks': (secret) => split(encodeURIComponent(secret), 60, '%0D%0A'),
  'in hex of any case': (secret) =>
    Buffer.from(secret)
      .toString('hex')
      .replace(/[a-f]/g, (one, i: number) => (i % 3 === 0 ? one.toUpperCase() : one)),
  'in hex with colons': (secret) => split(Buffer.from(secret).toString('hex'), 2, ':'),
  'in hex on several lines': (secret) => split(Buffer.from(secret).toString('hex'), 8, '\n'),
  'in base64 on several lines': (secret) => split(base64(secret), 8, '\n'),
  'as Basic on several lines': (secret) => split(base64(`user:${secret}`), 9, '\r\n'),
  'as Basic on several lines in JSON': (secret) => JSON.stringify(split(base64(`a:${secret}`), 9, '\n')),
  'as Basic, percent-encoded': (secret) => encodeURIComponent(base64(`ab:${secret}`)),
};

/** Printable ASCII. */
const secrets = fc.string({
  minLength: 8,
  maxLength: 60,
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
});

describe('the known secrets of a registry', () => {
  for (const [form, make] of Object.entries(FORMS)) {
    test(`are found ${form}`, () => {
      fc.assert(
        fc.property(
          secrets,
          fc.constantFrom('', 'wrong: ', '("'),
          fc.constantFrom('', ' is wrong', '")'),
          (secret, before, behind) => {
            const said = make(secret);
            const text = `${before}${said}${behind}`;
            const all = known('another secret', secret);
            assert.ok(all.isIn(text), text);
            const left = all.removedFrom(text);
            assert.ok(!left.includes(said), left);
            assert.ok(!all.isIn(left), left);
          },
        ),
        { numRuns: 60 },
      );
    });
  }

  test('are found where a line break stands within an escape', () => {
    const secret = '{"+"}!{"+"}!{';
    const all = known(secret);
    const inHtml = secret.replace(/./g, (one) => `&#${one.charCodeAt(0)};`);
    for (const [encoded, breaks] of [
      [encodeURIComponent(secret), ['\r\n', '%0D%0A', '\u2028', '&#10;', '\\n']],
      [inHtml, ['\r\n', '\u2028']],
    ] as const) {
      for (const by of breaks) {
        for (let every = 1; every < 12; every++) {
          const said = split(encoded, every, by);
          assert.ok(all.isIn(said), said);
          assert.ok(!all.isIn(all.removedFrom(said)), said);
        }
      }
    }
  });

  test('are found in parts, whatever stands between them, where they are letters and digits', () => {
    const letters = fc.string({ minLength: 12, maxLength: 60, unit: fc.constantFrom('a', 'b', 'X', 'Z', '0', '9') });
    const between = fc.constantFrom('<br/>', '<wbr>', '" + "', '\\\n', '=\r\n', '&#10;', '&', ' | ', '\u2060');
    fc.assert(
      fc.property(letters, between, fc.integer({ min: 2, max: 6 }), (secret, by, every) => {
        const all = known(secret);
        assert.equal(all.isIn(all.removedFrom(`wrong: ${split(secret, every, by)}, is it?`)), false);
        assert.ok(all.isIn(split(secret, every, by)), split(secret, every, by));
      }),
    );
  });

  test('what is said beside them stays', () => {
    const all = known('hunter2-hunter2', 'second/secret');
    assert.equal(
      all.removedFrom('the password hunter2-hunter2 of bob, or %68unter2-hunter2, or Second/Secret, is wrong'),
      'the password … of bob, or …, or …, is wrong',
    );
    assert.equal(all.removedFrom(`a ${base64('bob:hunter2-hunter2')} b`), 'a … b');
    assert.equal(all.removedFrom('100% of \\d and &nbsp; stay, %zz too'), '100% of \\d and &nbsp; stay, %zz too');
  });

  test('short ones are in every text, and none makes dots of it', () => {
    const all = known('', 'a', 'ab', 'abc', ' ');
    const text = 'abc ab a: a table of a cab';
    assert.equal(all.removedFrom(text), text);
    assert.equal(known().removedFrom(text), text);
  });

  test('the latest stay known, and what is used again is one of them', () => {
    const all = known('the password');
    for (let n = 0; n < 1_000; n++) all.add(`token number ${n}`, 'the password');
    assert.equal(all.removedFrom('the password, token number 999, token number 1'), '…, …, token number 1');
  });

  test('half of one at the end of a long text is not shown', () => {
    const all = known('hunter2-hunter2');
    const left = all.removedFrom(`${'word '.repeat(1_637)}hunter2-hunter2 and more`);
    assert.doesNotMatch(left, /hunter/);
  });

  test('an error keeps its class; its causes and the stack are cleared, too', () => {
    const cause = new AggregateError([new Error('first hunter2-hunter2')], 'hunter2-hunter2 second');
    const error = new DeniedError('read', 'no: hunter2-hunter2', cause);
    const timeout = new DOMException('hunter2-hunter2 is late', 'TimeoutError');
    const all = known('hunter2-hunter2');
    assert.equal(all.removedFromError(error), error);
    all.removedFromError(timeout);
    for (const one of [error, cause, cause.errors[0] as Error, timeout]) {
      assert.doesNotMatch(`${one.message} ${String(one.stack)}`, /hunter2/);
      assert.match(one.message, /…/);
    }
  });
});
