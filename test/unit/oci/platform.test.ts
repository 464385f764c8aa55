import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatPlatform,
  matchesPlatform,
  normalisePlatform,
  parsePlatform,
  type Platform,
} from '../../../lib/oci/platform.ts';

const os = fc.constantFrom('linux', 'windows', 'darwin', 'Linux', 'macos', 'freebsd');
const architecture = fc.constantFrom(
  'amd64',
  'x86_64',
  'AArch64',
  'arm64',
  'arm',
  'armhf',
  'armel',
  '386',
  'i686',
  's390x',
  'riscv64',
);
const variant = fc.constantFrom('v6', 'v7', 'v8', '8', 'V7', 'v1', 'v3', '9');
const platform: fc.Arbitrary<Platform> = fc.oneof(
  fc.record({ os, architecture }),
  fc.record({ os, architecture, variant }),
);

test('normalising twice changes nothing more', () => {
  fc.assert(
    fc.property(platform, (one) => {
      const normal = normalisePlatform(one);
      assert.deepEqual(normalisePlatform(normal), normal);
    }),
  );
});

test('what is formatted is parsed to the same platform', () => {
  fc.assert(
    fc.property(platform, (one) => {
      const text = formatPlatform(one);
      assert.equal(formatPlatform(parsePlatform(text)), text);
      assert.ok(matchesPlatform(parsePlatform(text), one), text);
    }),
  );
});

test('a platform matches itself, and one without variant all that have one', () => {
  fc.assert(
    fc.property(platform, (one) => {
      assert.ok(matchesPlatform(one, one));
      const { os: system, architecture: processor } = normalisePlatform(one);
      assert.ok(matchesPlatform({ os: system, architecture: processor }, one));
    }),
  );
});

test('matching is the same for every spelling', () => {
  fc.assert(
    fc.property(platform, platform, (a, b) => {
      assert.equal(matchesPlatform(a, b), matchesPlatform(normalisePlatform(a), normalisePlatform(b)));
    }),
  );
});

for (const [text, normal] of [
  ['linux/amd64', 'linux/amd64'],
  ['linux/x86_64', 'linux/amd64'],
  ['linux/x86-64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['linux/amd64/v3', 'linux/amd64/v3'],
  ['linux/aarch64', 'linux/arm64'],
  ['linux/arm64/v8', 'linux/arm64'],
  ['linux/arm64/8', 'linux/arm64'],
  ['linux/arm64/v9', 'linux/arm64/v9'],
  ['linux/arm', 'linux/arm'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['Linux/ARM/V7', 'linux/arm/v7'],
  ['linux/i386', 'linux/386'],
  ['macos/arm64', 'darwin/arm64'],
  ['windows/amd64', 'windows/amd64'],
] as const) {
  test(`${text} is ${normal}`, () => assert.equal(formatPlatform(parsePlatform(text)), normal));
}

for (const [wanted, offered, matches] of [
  ['linux/arm64', 'linux/arm64/v8', true],
  ['linux/arm64/v8', 'linux/arm64', true],
  ['linux/arm64/v9', 'linux/arm64', false],
  ['linux/arm64', 'linux/arm64/v9', true],
  ['linux/amd64/v1', 'linux/amd64', true],
  ['linux/amd64/v2', 'linux/amd64/v3', false],
  ['linux/arm', 'linux/arm/v6', true],
  ['linux/arm/v7', 'linux/arm', true],
  ['linux/arm/7', 'linux/arm', true],
  ['linux/arm/v6', 'linux/arm', false],
  ['linux/arm/v8', 'linux/arm', false],
  ['linux/arm', 'linux/arm', true],
  ['linux/arm/v7', 'linux/arm/v6', false],
  ['linux/amd64', 'windows/amd64', false],
  ['linux/amd64', 'linux/arm64', false],
] as const) {
  test(`${offered} ${matches ? 'answers' : 'does not answer'} ${wanted}`, () => {
    assert.equal(matchesPlatform(parsePlatform(wanted), parsePlatform(offered)), matches);
  });
}

for (const text of [
  '',
  'linux',
  'linux/',
  '/amd64',
  'linux/amd64/v1/x',
  'linux//v8',
  'linux/am d64',
  'linux/amd64\n',
  `linux/${'a'.repeat(65)}`,
  '../..',
]) {
  test(`${JSON.stringify(text.slice(0, 20))} is refused with the form and the field`, () => {
    assert.throws(() => parsePlatform(text, 'images[0].platforms[1]'), {
      name: 'InvalidRequestError',
      field: 'images[0].platforms[1]',
      message: /os\/architecture\[\/variant\], for example linux\/amd64/,
    });
  });
}

test('several platforms in one text: the error says what to write instead, as the option or as the list', () => {
  for (const text of [
    'linux/amd64,linux/arm64',
    'linux/amd64, linux/arm64',
    'linux/amd64;linux/arm64',
    'linux/amd64 linux/arm64',
  ]) {
    assert.throws(() => parsePlatform(text, '--platform'), {
      name: 'InvalidRequestError',
      message: /write the option once for each: --platform linux\/amd64 --platform linux\/arm64$/,
    });
    assert.throws(() => parsePlatform(text, 'platforms'), {
      message: /write a list: \["linux\/amd64","linux\/arm64"\]$/,
    });
  }
  for (const text of ['linux', 'linux,', ',', 'a,b', 'linux/amd64/v1/x', ` ${'x/y,'.repeat(500)}`]) {
    assert.throws(
      () => parsePlatform(text, '--platform'),
      ({ message }: Error) => {
        assert.match(message, /write it as os\/architecture\[\/variant\]/);
        return message.length < 1_000;
      },
    );
  }
});
