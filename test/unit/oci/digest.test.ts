import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { algorithmOf, digestOf, hexOf, isDigest, parseDigest } from '../../../lib/oci/digest.ts';

const EMPTY = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

test('the digest of bytes is a digest', () => {
  assert.equal(digestOf(new Uint8Array()), EMPTY);
  fc.assert(
    fc.property(fc.uint8Array(), fc.constantFrom('sha256' as const, 'sha512' as const), (bytes, algorithm) => {
      const digest = digestOf(bytes, algorithm);
      assert.ok(isDigest(digest));
      assert.equal(parseDigest(digest), digest);
      assert.equal(algorithmOf(digest), algorithm);
      assert.equal(`${algorithm}:${hexOf(digest)}`, digest);
      assert.equal(hexOf(digest), createHash(algorithm).update(bytes).digest('hex'));
    }),
  );
});

for (const [text, message] of [
  [EMPTY.slice(0, -1), /sha256: there must be exactly 64 lower-case hex digits, found 63 characters/],
  [EMPTY.replace('e3', 'E3'), /lower-case hex digits/],
  [EMPTY.replace('e3', 'g3'), /lower-case hex digits/],
  [`${EMPTY}\n`, /exactly 64/],
  [`sha512:${'0'.repeat(127)}`, /exactly 128 lower-case hex digits, found 127/],
  [`sha512:${'0'.repeat(64)}`, /exactly 128 lower-case hex digits, found 64/],
  [`sha512:${'A'.repeat(128)}`, /lower-case hex digits/],
  [`sha256:${'0'.repeat(128)}`, /exactly 64 lower-case hex digits, found 128/],
  [`sha384:${'0'.repeat(96)}`, /unknown algorithm; use sha256:.* or sha512:/],
  ['constructor:00', /unknown algorithm/],
  ['blake3:abcdef', /unknown algorithm; use sha256:/],
  ['sha256+b64:abc=', /unknown algorithm/],
  ['e3b0c442', /not a digest; use sha256:/],
  ['', /not a digest/],
] as const) {
  test(`${JSON.stringify(text.slice(0, 24))} of ${text.length} characters is refused`, () => {
    assert.equal(isDigest(text), false);
    assert.throws(() => parseDigest(text), {
      name: 'InvalidDigestError',
      code: 'DIGEST_INVALID',
      origin: 'client',
      message,
    });
  });
}

test('a message does not repeat a long text', () => {
  assert.throws(
    () => parseDigest('x'.repeat(100_000)),
    ({ message }: Error) => message.length < 400,
  );
});
