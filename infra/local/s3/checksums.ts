import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** The checksums of S3 that this endpoint keeps. CRC64NVME is refused (501): Node lacks it, and nothing here uses it. */
export const ALGORITHMS = ['CRC32', 'CRC32C', 'SHA1', 'SHA256'] as const;
/** One of {@link ALGORITHMS}. */
export type Algorithm = (typeof ALGORITHMS)[number];
/** COMPOSITE: the checksum of the parts' checksums. FULL_OBJECT: of the bytes. */
export type ChecksumType = 'COMPOSITE' | 'FULL_OBJECT';

/** A running checksum. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  digest(): Buffer;
}

const CRC_POLYNOMIALS = { CRC32: 0xedb88320, CRC32C: 0x82f63b78 };
const CRC32C_TABLE = crcTable(CRC_POLYNOMIALS.CRC32C);
const BYTES: Record<Algorithm, number> = { CRC32: 4, CRC32C: 4, SHA1: 20, SHA256: 32 };

/** The header that carries this checksum. */
export function checksumHeader(algorithm: Algorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

/** The XML element that carries this checksum. */
export function checksumElement(algorithm: Algorithm): string {
  return `Checksum${algorithm}`;
}

/** Whether the text is Base64 of as many bytes as this checksum has. */
export function isChecksum(algorithm: Algorithm, value: string): boolean {
  const bytes = Buffer.from(value, 'base64');
  return bytes.length === BYTES[algorithm] && bytes.toString('base64') === value;
}

/** Begins a checksum, or an MD5 (for ETags and Content-MD5). */
export function createHasher(algorithm: Algorithm | 'MD5'): Hasher {
  if (algorithm === 'CRC32') return crcHasher((bytes, crc) => crc32(bytes, crc));
  if (algorithm === 'CRC32C') return crcHasher(crc32c);
  const hash = createHash(algorithm.toLowerCase());
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
}

/** The checksum of the parts' checksums, with the number of parts: `base64-N`. */
export function compositeChecksum(algorithm: Algorithm, parts: readonly string[]): string {
  const hasher = createHasher(algorithm);
  for (const part of parts) hasher.update(Buffer.from(part, 'base64'));
  return `${hasher.digest().toString('base64')}-${parts.length}`;
}

/** The CRC of the whole, from the CRCs and sizes of its parts, without reading a byte. */
export function combineCrcs(
  algorithm: 'CRC32' | 'CRC32C',
  parts: readonly { checksum: string; size: number }[],
): string {
  const polynomial = CRC_POLYNOMIALS[algorithm];
  const powers = squaredPowers(polynomial);
  const whole = parts.reduce((crc, part) => {
    const next = Buffer.from(part.checksum, 'base64').readUInt32BE();
    return (multiply(powerOfBytes(part.size, powers, polynomial), crc, polynomial) ^ next) >>> 0;
  }, 0);
  return crcBytes(whole).toString('base64');
}

function crcHasher(step: (bytes: Uint8Array, crc: number) => number): Hasher {
  let crc = 0;
  return { update: (bytes) => void (crc = step(bytes, crc)), digest: () => crcBytes(crc) };
}

function crcBytes(crc: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes;
}

function crcTable(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, index) => {
    let crc = index;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    return crc;
  });
}

function crc32c(bytes: Uint8Array, start: number): number {
  let crc = ~start;
  for (const byte of bytes) crc = (CRC32C_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/*
 * CRCs are polynomials over GF(2): appending n bytes multiplies by x^(8n) modulo the CRC's polynomial. These three are zlib's
 * crc32_combine (multmodp, x2nmodp), with the polynomial as an argument. Bits are reflected: x^0 is the highest bit.
 */

function multiply(left: number, right: number, polynomial: number): number {
  let product = 0;
  let shifted = right;
  for (let bit = 31; bit >= 0; bit--) {
    if ((left >>> bit) & 1) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ polynomial : shifted >>> 1;
  }
  return product >>> 0;
}

/** x^(2^k) for k = 0…63. */
function squaredPowers(polynomial: number): number[] {
  const powers = [1 << 30];
  for (let k = 1; k < 64; k++) powers.push(multiply(powers[k - 1] ?? 0, powers[k - 1] ?? 0, polynomial));
  return powers;
}

/** x^(8 * bytes). Divides rather than shifts: parts may be larger than 4 GiB. */
function powerOfBytes(bytes: number, powers: readonly number[], polynomial: number): number {
  let product = 1 << 31;
  for (let left = bytes, k = 3; left > 0; left = Math.floor(left / 2), k++) {
    if (left % 2 === 1) product = multiply(powers[k] ?? 0, product, polynomial);
  }
  return product;
}
