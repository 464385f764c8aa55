import { algorithmOf, hexOf, type Digest } from '../oci/digest.ts';

/** A CRC-32 in S3's form: base64 of its four bytes, big-endian. */
export function crc32Base64(crc: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

/** The CRC-32 of S3's form. */
export const crc32FromBase64 = (crc32: string): number => Buffer.from(crc32, 'base64').readUInt32BE();

/** A SHA-256 digest as S3's `ChecksumSHA256`. */
export function sha256Base64(digest: Digest): string {
  return Buffer.from(hexOf(digest), 'hex').toString('base64');
}

/** The `ChecksumSHA256` of the content with this digest. Undefined for a digest of another algorithm, which S3 cannot compare. */
export const s3ChecksumOf = (digest: Digest): string | undefined =>
  algorithmOf(digest) === 'sha256' ? sha256Base64(digest) : undefined;

/** x^8 modulo the polynomial of CRC-32, bits reflected (x^0 is the highest): one more byte multiplies a CRC by this. */
const ONE_BYTE = 0x00800000;
const POLYNOMIAL = 0xedb88320;

/**
 * The CRC-32 of two contents in a row, from the CRC of each and the length of the second, without reading a
 * byte again: zlib's crc32_combine.
 *
 * Each part needs a CRC, and so does the whole: computing both from the bytes would cost nearly as much as
 * their SHA-256.
 */
export function appendCrc32(crc: number, next: number, nextBytes: number): number {
  let product = crc;
  let power = ONE_BYTE;
  // Divides rather than shifts: parts may be larger than 4 GiB.
  for (let left = nextBytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) product = multiply(power, product);
    power = multiply(power, power);
  }
  return (product ^ next) >>> 0;
}

/** The product of two polynomials over GF(2), modulo that of CRC-32. */
function multiply(left: number, right: number): number {
  let product = 0;
  let shifted = right;
  for (let bit = 31; bit >= 0; bit--) {
    if ((left >>> bit) & 1) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product >>> 0;
}
