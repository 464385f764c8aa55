import { crc32 } from 'node:zlib';

/** Files are read in blocks: a reader gets a block only if its CRC-32 matches. */
export const BLOCK_BYTES = 512 * 1024;
const SUM_BYTES = 4;

/** The CRC-32 of each block of a file, as its bytes come: 4 bytes a block, big-endian. */
export class BlockSums {
  readonly #sums: number[] = [];
  #crc = 0;
  #filled = 0;

  add(bytes: Uint8Array): void {
    for (let taken = 0; taken < bytes.byteLength;) {
      const piece = bytes.subarray(taken, taken + BLOCK_BYTES - this.#filled);
      this.#crc = crc32(piece, this.#crc);
      this.#filled += piece.byteLength;
      taken += piece.byteLength;
      if (this.#filled === BLOCK_BYTES) this.#endBlock();
    }
  }

  /** Of all blocks, the last and shorter one too. */
  end(): Uint8Array {
    if (this.#filled > 0) this.#endBlock();
    const sums = Buffer.alloc(this.#sums.length * SUM_BYTES);
    for (const [block, sum] of this.#sums.entries()) sums.writeUInt32BE(sum, block * SUM_BYTES);
    return sums;
  }

  #endBlock(): void {
    this.#sums.push(this.#crc);
    this.#crc = 0;
    this.#filled = 0;
  }
}

/** Whether the bytes match the checksum of the block. */
export function isBlock(sums: Uint8Array, block: number, bytes: Uint8Array): boolean {
  const view = new DataView(sums.buffer, sums.byteOffset, sums.byteLength);
  return (block + 1) * SUM_BYTES <= sums.byteLength && view.getUint32(block * SUM_BYTES) === crc32(bytes);
}
