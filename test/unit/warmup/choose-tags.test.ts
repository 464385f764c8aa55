import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { chooseTags, versionOf } from '../../../lib/warmup/choose-tags.ts';

describe('the version of a tag', () => {
  const versions: [string, string | undefined][] = [
    ['1.25.3', '1.25.3'],
    ['1.25', '1.25.0'],
    ['1', '1.0.0'],
    ['v1.2.3', '1.2.3'],
    ['2024.01.15', '2024.1.15'],
    ['1.2.3.4', '1.2.3'],
    ['1.20240923123456', '1.20240923123456.0'],
    // Variants are no pre-releases.
    ['1.25.3-alpine3.18', '1.25.3'],
    ['8-jdk', '8.0.0'],
    ['3.20_bookworm', '3.20.0'],
    ['1.2.3-rcfoo', '1.2.3'],
    ['1.0+build5', '1.0.0'],
    // Pre-releases are.
    ['1.26.0-rc.1', '1.26.0-rc.1'],
    ['1.26-rc1-alpine', '1.26.0-rc1-alpine'],
    ['3.13.0rc2-slim', '3.13.0-rc2-slim'],
    ['3.20.0_alpha20231219', '3.20.0-alpha20231219'],
    ['17-ea-20-jdk', '17.0.0-ea-20-jdk'],
    ['1.0-M2', '1.0.0-M2'],
    ['2-dev', '2.0.0-dev'],
    // No versions: names, dates, builds, commits.
    ['latest', undefined],
    ['alpine', undefined],
    ['version1', undefined],
    ['12abc', undefined],
    ['20240923', undefined],
    ['1234567', undefined],
    ['3f2a9bc', undefined],
  ];
  for (const [tag, expected] of versions) {
    test(`${tag}: ${expected ?? 'none'}`, () => assert.equal(versionOf(tag)?.version, expected));
  }

  test('no tag makes it throw', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^\w[\w.-]{0,127}$/), (tag) => {
        const version = versionOf(tag)?.version;
        return version === undefined || /^\d+\.\d+\.\d+/.test(version);
      }),
    );
  });
});

describe('choosing tags', () => {
  const NGINX = [
    'latest',
    'mainline',
    '1.9.1',
    '1.25.3',
    '1.25.3-alpine',
    '1.25',
    '1.26.0-rc1',
    '1.26.0',
    '1.26.0-alpine',
    '2.0.0',
  ];

  test('a range compares versions without their variants, and leaves out pre-releases and names', () => {
    assert.deepEqual(chooseTags(NGINX, { semver: '>=1.25 <2' }), [
      '1.26.0',
      '1.26.0-alpine',
      '1.25.3',
      '1.25.3-alpine',
      '1.25',
    ]);
  });

  test('a range that names a pre-release takes those of that version', () => {
    assert.deepEqual(chooseTags(['1.26.0-rc1', '1.26.0-rc2', '1.27.0-rc1', '1.25.0'], { semver: '>=1.26.0-rc.0' }), [
      '1.26.0-rc2',
      '1.26.0-rc1',
    ]);
  });

  test('the glob says which variants', () => {
    assert.deepEqual(chooseTags(NGINX, { semver: '>=1.25', glob: '*-alpine' }), ['1.26.0-alpine', '1.25.3-alpine']);
    assert.deepEqual(chooseTags(NGINX, { glob: '{latest,1.9.*}' }), ['1.9.1', 'latest']);
    assert.deepEqual(chooseTags(NGINX, { glob: '{[0-9],[0-9][0-9]}.*.[0-9]', newest: 2 }), ['2.0.0', '1.26.0']);
  });

  test('newest counts tags from the highest version down, whatever order they come in', () => {
    for (const tags of [NGINX, NGINX.toReversed()]) {
      assert.deepEqual(chooseTags(tags, { newest: 4 }), ['2.0.0', '1.26.0', '1.26.0-alpine', '1.26.0-rc1']);
    }
    assert.deepEqual(chooseTags(NGINX, { newest: 3, semver: '^1', glob: '*.*.*' }), [
      '1.26.0',
      '1.26.0-alpine',
      '1.25.3',
    ]);
  });

  test('where nothing is a version, numbers count as numbers', () => {
    assert.deepEqual(chooseTags(['build-9', 'build-12', 'build-100'], { newest: 2 }), ['build-100', 'build-12']);
    assert.deepEqual(chooseTags(['20240923', '20231005', '20240101', '1.2'], { newest: 3 }), [
      '1.2',
      '20240923',
      '20240101',
    ]);
  });

  test('numbers of one version are in their order: 1.2.3.10 is above 1.2.3.9', () => {
    assert.deepEqual(chooseTags(['1.2.3.9', '1.2.3.10'], { newest: 1 }), ['1.2.3.10']);
  });

  test('a glob that matches nothing takes nothing', () => {
    assert.deepEqual(chooseTags(NGINX, { glob: '3.*' }), []);
    assert.deepEqual(chooseTags([], { newest: 5 }), []);
  });
});
