import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidRequestError } from '../../../../lib/errors/cache-error.ts';
import { parsePullInput, type PullInput } from '../../../../lib/http/control/requests.ts';
import { formatReference } from '../../../../lib/reference/reference.ts';

/** The request in a form that is easy to compare. */
function shown(input: PullInput): unknown {
  const one = (request: (PullInput & { kind: 'one' })['request']) => ({
    ...request,
    reference: formatReference(request.reference),
  });
  return input.kind === 'one' ? one(input.request) : input.requests.map(one);
}

function assertRefused(document: unknown, field: string, message: RegExp, causeCode?: string): void {
  assert.throws(
    () => parsePullInput(document),
    (error) => {
      assert.ok(error instanceof InvalidRequestError, String(error));
      assert.equal(error.field, field);
      assert.match(error.message, message);
      assert.equal((error.cause as { code?: string } | undefined)?.code, causeCode);
      return true;
    },
  );
}

const ALPINE = { reference: 'docker.io/library/alpine:latest', platforms: [], alwaysPull: false, attestations: true };

describe('every door', () => {
  test('one image', () => {
    assert.deepEqual(shown(parsePullInput({ reference: 'alpine' })), ALPINE);
    assert.deepEqual(shown(parsePullInput({ reference: 'alpine', platforms: ['linux/x86_64'], alwaysPull: true })), {
      reference: 'docker.io/library/alpine:latest',
      platforms: [{ os: 'linux', architecture: 'amd64' }],
      alwaysPull: true,
      attestations: true,
    });
  });

  test('a list', () => {
    assert.deepEqual(shown(parsePullInput({ images: [{ reference: 'alpine' }] })), [ALPINE]);
  });

  test('an EventBridge event: under detail, whatever the envelope holds', () => {
    const envelope = { version: '0', id: 'x', 'detail-type': 'Pull', source: 'me', account: '1', resources: [] };
    assert.deepEqual(shown(parsePullInput({ ...envelope, detail: { images: [{ reference: 'alpine' }] } })), [ALPINE]);
    assert.deepEqual(shown(parsePullInput({ ...envelope, detail: { reference: 'alpine' } })), ALPINE);
  });
});

describe('what is refused names its field', () => {
  const cases: [unknown, string, RegExp, string?][] = [
    [undefined, 'body', /not a JSON object/],
    ['alpine', 'body', /not a JSON object/],
    [['alpine'], 'body', /not a JSON object/],
    [null, 'body', /not a JSON object/],
    [{}, 'reference', /neither "reference" nor "images"/],
    [{ detail: {} }, 'detail.reference', /neither "reference" nor "images"/],
    [{ detail: 'alpine' }, 'detail', /"detail" is not a JSON object/],
    [{ detail: { reference: 'alpine' }, images: [] }, 'images', /both "detail" and "images"/],
    [{ reference: 5 }, 'reference', /must be a string/],
    [{ reference: '' }, 'reference', /is empty/],
    [{ reference: 'a'.repeat(1025) }, 'reference', /is longer than 1024 characters/],
    [{ reference: 'Alpine' }, 'reference', /upper-case/, 'NAME_INVALID'],
    [{ reference: 'a@sha256:12' }, 'reference', /exactly 64/, 'DIGEST_INVALID'],
    [{ reference: 'alpine', platforms: 'linux/amd64' }, 'platforms', /must be a list such as \["linux/],
    [{ reference: 'alpine', platforms: null }, 'platforms', /must be a list such as/],
    [{ reference: 'alpine', platforms: [null] }, 'platforms[0]', /must be a string/],
    [{ reference: 'alpine', platforms: ['linux/amd64', 'linux'] }, 'platforms[1]', /os\/architecture/],
    [{ reference: 'alpine', platforms: Array(51).fill('linux/amd64') }, 'platforms', /more than 50/],
    [{ reference: 'alpine', alwaysPull: 'true' }, 'alwaysPull', /^alwaysPull: must be true or false$/],
    [{ reference: 'alpine', alwaysPull: null }, 'alwaysPull', /must be true or false/],
    [{ reference: 'alpine', platform: 'linux/amd64' }, 'platform', /unknown field "platform"; an image has/],
    [{ reference: 'alpine', images: [] }, 'images', /names no image/],
    [
      { images: [{ reference: 'alpine' }], reference: 'alpine' },
      'reference',
      /"reference"; a list of images has "images" alone/,
    ],
    [{ images: { reference: 'alpine' } }, 'images', /must be a list such as \[{"reference"/],
    [{ images: null }, 'images', /must be a list such as/],
    [{ images: Array(101).fill({ reference: 'alpine' }) }, 'images', /more than 100/],
    [{ images: [{ reference: 'alpine' }, 'b'] }, 'images[1]', /must be an object such as {"reference": "alpine"}/],
    [
      { images: [{ reference: 'UPPER' }] },
      'images[0].reference',
      /^images\[0\]\.reference: .*upper-case/,
      'NAME_INVALID',
    ],
    [{ images: [{ platforms: [] }] }, 'images[0].reference', /must be a string/],
    [{ images: [{ reference: 'alpine', extra: 1 }] }, 'images[0].extra', /unknown field "extra"; an image has/],
    [{ detail: { images: [{ reference: 'a', platforms: ['x'] }] } }, 'detail.images[0].platforms[0]', /os\/arch/],
  ];
  for (const [document, field, message, code] of cases) {
    test(`${field}: ${message.source}`, () => {
      assertRefused(document, field, message, code);
    });
  }
});
