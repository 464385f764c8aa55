import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import {
  formatReference,
  formatRepository,
  parseKnownReference,
  parseReference,
  parseRegistry,
  parseTag,
  pointerOf,
} from '../../../lib/reference/reference.ts';

const SHA256 = digestOf(Buffer.from('some content'));

const fromAlphabet = (alphabet: string, minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...alphabet.split('')), minLength, maxLength });
const LOWER = 'abcdefghijklmnopqrstuvwxyz0123456789';
const WORD = `${LOWER}ABCDEFGHIJKLMNOPQRSTUVWXYZ_`;

const component = fc
  .tuple(
    fromAlphabet(LOWER, 1, 6),
    fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '--', '---'), fromAlphabet(LOWER, 1, 4)), { maxLength: 2 }),
  )
  .map(([first, more]) => first + more.flat().join(''));
const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const label = fc
  .tuple(fromAlphabet(LOWER, 1, 4), fromAlphabet(`${LOWER}-`, 0, 4), fromAlphabet(LOWER, 1, 2))
  .map((parts) => parts.join(''));
const port = fc.integer({ min: 1, max: 65_535 });
const registry = fc.oneof(
  fc.tuple(label, label).map(([a, b]) => `${a}.${b}.test`),
  fc.tuple(label, port).map(([host, at]) => `${host}:${at}`),
  fc.constant('localhost'),
  port.map((at) => `localhost:${at}`),
  fc.ipV4(),
  fc.tuple(fc.ipV4(), port).map(([host, at]) => `${host}:${at}`),
  // Without an embedded IPv4 address: the grammar of references has no dots in brackets.
  fc
    .ipV6()
    .filter((ip) => !ip.includes('.'))
    .map((ip) => `[${ip.toLowerCase()}]`),
  port.map((at) => `[::1]:${at}`),
);
const tag = fc.tuple(fromAlphabet(WORD, 1, 1), fromAlphabet(`${WORD}.-`, 0, 30)).map((parts) => parts.join(''));
const digest = fc.uint8Array({ maxLength: 8 }).map((bytes) => digestOf(bytes));
const suffix = fc.oneof(
  tag.map((text) => `:${text}`),
  digest.map((text) => `@${text}`),
  fc.tuple(tag, digest).map(([t, d]) => `:${t}@${d}`),
);

describe('a normalised reference', () => {
  test('is given back as it is', () => {
    fc.assert(
      fc.property(registry, path, suffix, (host, name, rest) => {
        const text = `${host}/${name}${rest}`;
        assert.equal(formatReference(parseReference(text)), text);
      }),
      { numRuns: 500 },
    );
  });

  test('is its own normal form, whatever was written', () => {
    fc.assert(
      fc.property(
        fc.option(registry, { nil: 'docker.io' }),
        path,
        fc.option(suffix, { nil: '' }),
        fc.boolean(),
        (host, name, rest, short) => {
          const once = parseReference(short ? `org/${name}${rest}` : `${host}/${name}${rest}`);
          assert.deepEqual(parseReference(formatReference(once)), once);
          assert.ok(once.tag !== undefined || once.digest !== undefined);
          assert.equal(pointerOf(once), once.digest === undefined ? once.tag : `@${once.digest}`);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('what Docker understands', () => {
  for (const [text, normal] of [
    ['alpine', 'docker.io/library/alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['org/app', 'docker.io/org/app:latest'],
    ['a/b/c', 'docker.io/a/b/c:latest'],
    ['docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['index.docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['registry-1.docker.io/library/alpine', 'docker.io/library/alpine:latest'],
    ['Docker.IO/org/app', 'docker.io/org/app:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['LOCALHOST/app', 'localhost/app:latest'],
    // Without a slash it is a name and a tag, as Docker reads it.
    ['localhost:5000', 'docker.io/library/localhost:5000'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['registry:5000/app:v1', 'registry:5000/app:v1'],
    ['GHCR.io/org/app', 'ghcr.io/org/app:latest'],
    ['[::1]:5000/app:v1', '[::1]:5000/app:v1'],
    ['[2001:DB8::1]/a/b', '[2001:db8::1]/a/b:latest'],
    ['127.0.0.1:5000/a', '127.0.0.1:5000/a:latest'],
    [`alpine@${SHA256}`, `docker.io/library/alpine@${SHA256}`],
    [`alpine:3.20@${SHA256}`, `docker.io/library/alpine:3.20@${SHA256}`],
  ] as const) {
    test(`${text} is ${normal}`, () => assert.equal(formatReference(parseReference(text)), normal));
  }

  test('a digest wins over a tag', () => {
    assert.equal(pointerOf(parseReference(`alpine:3.20@${SHA256}`)), `@${SHA256}`);
    assert.equal(pointerOf(parseReference('alpine')), 'latest');
    assert.equal(formatRepository(parseReference('alpine').repository), 'docker.io/library/alpine');
  });
});

describe('what is refused, and why', () => {
  for (const [text, message] of [
    ['', /is empty; write for example/],
    ['Alpine', /"Alpine" has upper-case letters/],
    ['Org/app', /"Org" has upper-case letters/],
    ['ghcr.io/Org/app', /"Org" has upper-case letters/],
    ['a//b', /a part of the name is empty/],
    ['/a', /a part of the name is empty/],
    ['a/', /a part of the name is empty/],
    [':tag', /a part of the name is empty/],
    ['ghcr.io/', /the repository is missing after "ghcr.io"/],
    ['ghcr.io//a', /a part of the name is empty/],
    ['a/../b', /"\.\." is not a name; paths are not resolved/],
    ['ghcr.io/./b', /"\." is not a name/],
    ['../b', /registry "\.\."/],
    ['a/b_.c', /"b_\.c" is not a name/],
    ['a/-b', /"-b" is not a name/],
    ['a/b-', /"b-" is not a name/],
    ['a/b___c', /"b___c" is not a name/],
    ['a/b%2fc', /is not a name/],
    ['a/b?c', /is not a name/],
    ['a/b#c', /is not a name/],
    ['a b', /is not a name/],
    [' alpine', /is not a name/],
    ['alpine\n', /is not a name/],
    ['alpïne', /is not a name/],
    ['https://ghcr.io/org/app', /leave out the scheme/],
    ['docker://alpine', /leave out the scheme/],
    ['alpine:', /tag ""/],
    ['alpine:-x', /tag "-x": a tag is 1 to 128/],
    [`alpine:${'x'.repeat(129)}`, /a tag is 1 to 128/],
    ['a:b:c', /is not a name/],
    ['a/b:x y', /tag "x y"/],
    ['host:port/app', /registry "host:port"/],
    ['host:99999/app', /port 99999 is above 65535/],
    ['[::1/app', /registry "\[::1"/],
    ['::1/app', /registry "::1"/],
    ['[::1]', /is not a name/],
    ['[fe80::1%eth0]/app', /registry/],
    ['-bad.test/app', /registry "-bad.test"/],
    ['bad..test/app', /registry "bad\.\.test"/],
    [`${'a/'.repeat(200)}b`, /longer than 255 characters/],
    ['a'.repeat(1025), /1025 characters long, at most 1024/],
  ] as const) {
    test(JSON.stringify(text.slice(0, 40)), () => {
      assert.throws(() => parseReference(text), {
        name: 'InvalidNameError',
        code: 'NAME_INVALID',
        retryable: false,
        message,
      });
    });
  }

  for (const [text, message] of [
    ['alpine@', /not a digest; use sha256:/],
    ['alpine@sha256:abc', /exactly 64 lower-case hex digits, found 3 characters/],
    [`alpine@${SHA256}0`, /found 65 characters/],
    [`alpine@${SHA256.toUpperCase()}`, /DIGEST|digest/],
    [`alpine@${SHA256}:tag`, /exactly 64/],
    [`alpine@${SHA256}@${SHA256}`, /exactly 64/],
    [`alpine@sha512:${'a'.repeat(64)}`, /exactly 128 lower-case hex digits, found 64 characters/],
    [`alpine@md5:${'a'.repeat(32)}`, /unknown algorithm/],
  ] as const) {
    test(JSON.stringify(text.slice(0, 40)), () => {
      assert.throws(() => parseReference(text), { name: 'InvalidDigestError', code: 'DIGEST_INVALID', message });
    });
  }

  test('a valid reference with one bad character, wherever it falls', () => {
    const bad = fc.constantFrom('..', '//', ' ', '%', '?', '#', '\\', '\0', 'É', '@', '~', '+', '*');
    fc.assert(
      fc.property(path, bad, fc.nat(), (name, what, at) => {
        const cut = at % (name.length + 1);
        assert.throws(
          () => parseReference(`registry.example.test/${name.slice(0, cut)}${what}${name.slice(cut)}`),
          (error: unknown) =>
            error instanceof CacheError && (error.code === 'NAME_INVALID' || error.code === 'DIGEST_INVALID'),
        );
      }),
    );
  });

  test('anything is either understood or refused on purpose, in a short message', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 80 }),
      fromAlphabet('aA0./:@[]_-%', 0, 40),
      fc.string({ minLength: 900, maxLength: 1200 }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          const once = parseReference(text);
          assert.deepEqual(parseReference(formatReference(once)), once);
        } catch (error) {
          assert.ok(error instanceof CacheError, String(error));
          assert.ok(error.message.length < 2_000);
        }
      }),
      { numRuns: 300 },
    );
  });
});

test('a tag by itself', () => {
  fc.assert(fc.property(tag, (text) => assert.equal(parseTag(text), text)));
  assert.throws(() => parseTag('.x'), { name: 'InvalidNameError' });
  assert.throws(() => parseTag('a/b'), { name: 'InvalidNameError' });
});

test('a registry by itself', () => {
  fc.assert(fc.property(registry, (text) => assert.equal(parseRegistry(text), text)));
  assert.equal(parseRegistry('Registry-1.Docker.io'), 'docker.io');
  assert.throws(() => parseRegistry('host/path'), {
    name: 'InvalidNameError',
    message: /host name, IPv4 address or \[IPv6 address\]/,
  });
});

test('the registry of a reference may be named by its alias, or with "_" before its port', () => {
  const registries = new Map(
    [
      { name: 'docker.io' },
      { name: '127.0.0.1:5001', alias: 'mine' },
      { name: '[::1]:5000', alias: 'six' },
      { name: 'localhost:5001' },
    ].map((one) => [one.name, one]),
  );
  const cases: [string, string][] = [
    ['mine/team/app:v1', '127.0.0.1:5001/team/app:v1'],
    ['mine/app', '127.0.0.1:5001/app:latest'],
    [`mine/app@${SHA256}`, `127.0.0.1:5001/app@${SHA256}`],
    ['six/app:v1', '[::1]:5000/app:v1'],
    ['localhost_5001/team/app:v1', 'localhost:5001/team/app:v1'],
    ['127.0.0.1_5001/team/app:v1', '127.0.0.1:5001/team/app:v1'],
    ['127.0.0.1:5001/team/app:v1', '127.0.0.1:5001/team/app:v1'],
    // No first part, another one, or one that is written out.
    ['mine', 'docker.io/library/mine:latest'],
    ['mine:v1', 'docker.io/library/mine:v1'],
    ['mines/app', 'docker.io/mines/app:latest'],
    ['docker.io/mine/app', 'docker.io/mine/app:latest'],
    ['alpine', 'docker.io/library/alpine:latest'],
  ];
  for (const [text, expected] of cases) {
    assert.equal(formatReference(parseKnownReference(text, registries)), expected, text);
  }
  for (const text of ['mine/', 'mine//app', 'mine/Upper', '/mine/app', '']) {
    assert.throws(() => parseKnownReference(text, registries), { name: 'InvalidNameError' }, text);
  }
});
