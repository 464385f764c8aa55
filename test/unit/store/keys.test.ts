import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '../../../lib/oci/digest.ts';
import { blobObjectKey, digestOfKey, refKey } from '../../../lib/store/keys.ts';

test('content lies under its digest', () => {
  assert.equal(
    blobObjectKey(digestOf(Buffer.alloc(0))),
    'blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  );
});

test('ordinary references are readable in their key', () => {
  assert.equal(
    refKey({ registry: 'docker.io', path: 'library/alpine', pointer: '3.20' }),
    'refs/docker.io/library/alpine/3.20.json',
  );
});

test('ports, IPv6 and digests give safe keys', () => {
  assert.equal(
    refKey({ registry: '[::1]:5000', path: 'team/app', pointer: '@sha256:1f' }),
    'refs/!5B!3A!3A1!5D!3A5000/team/app/!40sha256!3A1f.json',
  );
});

const textOf = (characters: string): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...characters.split('')), minLength: 1, maxLength: 12 });

test('keys hold only characters that S3 calls safe, and different references have different keys', () => {
  const reference = fc.record({
    registry: textOf('ab1.-:[]'),
    path: fc.array(textOf('ab1._-'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
    pointer: textOf('abAB1._-@:'),
  });
  fc.assert(
    fc.property(reference, reference, (one, other) => {
      assert.match(refKey(one), /^[A-Za-z0-9!._/-]+$/);
      const same = one.registry === other.registry && one.path === other.path && one.pointer === other.pointer;
      assert.equal(refKey(one) === refKey(other), same);
    }),
  );
});

test('a key leads back to its digest, and what is no key of content to none', () => {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const digest = digestOf(Buffer.alloc(0), algorithm);
    const key = blobObjectKey(digest);
    assert.match(key, new RegExp(`^blobs/${algorithm}/[0-9a-f]+$`));
    assert.equal(digestOfKey(key), digest);
    for (const other of [`${key}0`, key.slice(0, -1), key.toUpperCase(), `x${key}`, key.replace('blobs', 'refs')]) {
      assert.equal(digestOfKey(other), undefined, other);
    }
  }
  const hex = 'a'.repeat(64);
  for (const key of [`blobs/sha512/${hex}`, `blobs/sha384/${hex}`, `blobs/sha256/${hex}/${hex}`, `blobs/${hex}`]) {
    assert.equal(digestOfKey(key), undefined, key);
  }
});
