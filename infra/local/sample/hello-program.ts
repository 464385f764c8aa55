import { textBytes } from './tar.ts';

const LOAD_ADDRESS = 0x400000n;
const HEADERS_BYTES = 64 + 56;
const PAGE_BYTES = 0x10000n;

/**
 * A complete Linux program that prints `message` and exits 0: a static ELF executable without libraries, so an image of it
 * runs on any kernel of that architecture. It lets the sample image be run on platforms whose files this machine does not have.
 */
export function helloProgram(architecture: 'amd64' | 'arm64', message: string): Uint8Array {
  const text = textBytes(message);
  const code = architecture === 'amd64' ? amd64Code(text.byteLength) : arm64Code(text.byteLength);
  const size = BigInt(HEADERS_BYTES + code.byteLength + text.byteLength);
  return Buffer.concat([headers(architecture === 'amd64' ? 62 : 183, size), code, text]);
}

/** write(1, text, length); exit(0). The text follows the code. */
function amd64Code(length: number): Buffer {
  const code = Buffer.from('b801000000bf01000000488d3500000000ba000000000f05b83c00000031ff0f05', 'hex');
  const AFTER_LEA = 17;
  code.writeInt32LE(code.byteLength - AFTER_LEA, 13);
  code.writeInt32LE(length, 18);
  return code;
}

/** The same for arm64: every instruction is 4 bytes, so the text begins 28 bytes after the `adr`. */
function arm64Code(length: number): Buffer {
  const ADR = 4;
  const instructions = [
    0xd2800020, // mov x0, #1
    0x10000001 | ((8 * 4 - ADR) << 3), // adr x1, text: the offset in words at bit 5
    0xd2800002 | (length << 5), // mov x2, #length
    0xd2800808, // mov x8, #64 (write)
    0xd4000001, // svc #0
    0xd2800000, // mov x0, #0
    0xd2800ba8, // mov x8, #93 (exit)
    0xd4000001, // svc #0
  ];
  const code = Buffer.alloc(4 * instructions.length);
  instructions.forEach((instruction, i) => code.writeUInt32LE(instruction >>> 0, 4 * i));
  return code;
}

/** The ELF header and one loadable, executable segment that is the whole file. https://man7.org/linux/man-pages/man5/elf.5.html */
function headers(machine: number, size: bigint): Buffer {
  const bytes = Buffer.alloc(HEADERS_BYTES);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(2, 16); // e_type: executable
  bytes.writeUInt16LE(machine, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(LOAD_ADDRESS + BigInt(HEADERS_BYTES), 24); // e_entry
  bytes.writeBigUInt64LE(64n, 32); // e_phoff
  bytes.writeUInt16LE(64, 52); // e_ehsize
  bytes.writeUInt16LE(56, 54); // e_phentsize
  bytes.writeUInt16LE(1, 56); // e_phnum
  bytes.writeUInt16LE(64, 58); // e_shentsize
  bytes.writeUInt32LE(1, 64); // p_type: load
  bytes.writeUInt32LE(5, 68); // p_flags: read and execute
  bytes.writeBigUInt64LE(LOAD_ADDRESS, 80); // p_vaddr
  bytes.writeBigUInt64LE(LOAD_ADDRESS, 88); // p_paddr
  bytes.writeBigUInt64LE(size, 96); // p_filesz
  bytes.writeBigUInt64LE(size, 104); // p_memsz
  bytes.writeBigUInt64LE(PAGE_BYTES, 112); // p_align
  return bytes;
}
