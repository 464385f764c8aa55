import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { digestOf } from '../../../lib/oci/digest.ts';
import { crc32Base64, sha256Base64 } from '../../../lib/store/checksums.ts';

test('a CRC-32 is base64 of four bytes, high byte first', () => {
  assert.equal(crc32Base64(0), 'AAAAAA==');
  assert.equal(crc32Base64(crc32('123456789')), Buffer.from('cbf43926', 'hex').toString('base64'));
});

test('a digest becomes the checksum of S3', () => {
  const bytes = Buffer.from('content');
  assert.equal(sha256Base64(digestOf(bytes)), createHash('sha256').update(bytes).digest('base64'));
});
