import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidRequestError } from '../../../../lib/errors/cache-error.ts';
import { formatImageCursor, parseImageCursor } from '../../../../lib/http/control/images.ts';
import { parseReference } from '../../../../lib/reference/reference.ts';

const ALPINE = parseReference('alpine').repository;
const APP = parseReference('[::1]:5000/team/app').repository;
const DIGEST = `@sha256:${'a'.repeat(64)}`;

test('a position comes back as it was', () => {
  for (const position of [
    { repository: APP },
    { repository: APP, pointer: 'v1.2' },
    { repository: APP, pointer: DIGEST },
  ]) {
    assert.deepEqual(parseImageCursor(formatImageCursor(position, undefined), undefined), position);
    assert.deepEqual(parseImageCursor(formatImageCursor(position, APP), APP), position);
  }
});

describe('refused', () => {
  const made = (...fields: unknown[]) => Buffer.from(JSON.stringify(fields)).toString('base64url');
  const cases: [string, string, typeof ALPINE | undefined][] = [
    ['of another list', formatImageCursor({ repository: ALPINE }, ALPINE), undefined],
    ['of all repositories for one', formatImageCursor({ repository: ALPINE }, undefined), ALPINE],
    ['of one repository for another', formatImageCursor({ repository: ALPINE }, ALPINE), APP],
    ['a place outside its list', made('images', 'docker.io/library/alpine', 'ghcr.io/a/b', ''), ALPINE],
    ['another kind', made('pulls', '', 'docker.io/library/alpine', ''), undefined],
    ['a repository that is none', made('images', '', '../x', ''), undefined],
    ['a repository that is not normalised', made('images', '', 'alpine', ''), undefined],
    ['a pointer that is none', made('images', '', 'docker.io/library/alpine', 'a b'), undefined],
    ['a digest that is none', made('images', '', 'docker.io/library/alpine', '@sha256:12'), undefined],
    ['too few fields', made('images', '', 'docker.io/library/alpine'), undefined],
    ['fields that are no text', made('images', '', 'docker.io/library/alpine', 5), undefined],
    ['no list', Buffer.from('{}').toString('base64url'), undefined],
    ['nothing', '', undefined],
    ['noise', '\u0000\u{1f600}!!', undefined],
  ];
  for (const [name, cursor, only] of cases) {
    test(name, () =>
      assert.throws(
        () => parseImageCursor(cursor, only),
        (error) => error instanceof InvalidRequestError && error.field === 'next',
      ),
    );
  }
});
