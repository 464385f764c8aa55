import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { digestOf } from '../../../lib/oci/digest.ts';
import { appendCrc32, crc32Base64, crc32FromBase64, sha256Base64 } from '../../../lib/store/checksums.ts';

test('a CRC-32 is base64 of four bytes, high byte first', () => {
  assert.equal(crc32Base64(0), 'AAAAAA==');
  assert.equal(crc32Base64(crc32('123456789')), Buffer.from('cbf43926', 'hex').toString('base64'));
  assert.equal(crc32FromBase64(crc32Base64(0xcbf43926)), 0xcbf43926);
});

test('a digest becomes the checksum of S3', () => {
  const bytes = Buffer.from('content');
  assert.equal(sha256Base64(digestOf(bytes)), createHash('sha256').update(bytes).digest('base64'));
});

test('the CRC-32 of the whole comes from those of its parts', () => {
  const bytes = fc.uint8Array({ maxLength: 5_000 });
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 6 }), (parts) => {
      const whole = parts.reduce((crc, part) => appendCrc32(crc, crc32(part), part.byteLength), 0);
      assert.equal(whole, crc32(Buffer.concat(parts)));
    }),
  );
});

test('parts above 4 GiB count with their whole length', () => {
  // A zero byte at a time is the slow way to the same: 2^33 + 1 of them are 2^33 and one more.
  const zero = crc32(Buffer.alloc(1));
  let doubled = zero;
  for (let bytes = 1; bytes < 2 ** 33; bytes *= 2) doubled = appendCrc32(doubled, doubled, bytes);
  assert.equal(appendCrc32(zero, doubled, 2 ** 33), appendCrc32(doubled, zero, 1));
});
