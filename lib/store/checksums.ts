import { hexOf, type Digest } from '../oci/digest.ts';

/** A CRC-32 as S3 writes it: base64 of its four bytes, big-endian. */
export function crc32Base64(crc: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

/** The digest as S3's `ChecksumSHA256`. */
export function sha256Base64(digest: Digest): string {
  return Buffer.from(hexOf(digest), 'hex').toString('base64');
}
