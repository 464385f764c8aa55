/** A file in a layer: text or bytes, optionally with a mode, or a symbolic link. A path that ends in `/` is a directory. */
export type FileSpec =
  string | Uint8Array | { readonly bytes: Uint8Array; readonly mode: number } | { readonly symlink: string };

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;

/** Bytes of text. */
export const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/**
 * A POSIX ustar archive of `files`: the same input gives the same bytes (time 0, owner root, paths in the order of their bytes,
 * every folder before what is in it).
 *
 * @throws RangeError for a path that does not fit a ustar header.
 */
export function writeTar(files: Readonly<Record<string, FileSpec>>): Uint8Array {
  const entries = new Map<string, FileSpec>();
  for (const [path, file] of Object.entries(files)) {
    for (const folder of foldersAbove(path)) if (!entries.has(folder)) entries.set(folder, '');
    entries.set(path, file);
  }
  const blocks: Uint8Array[] = [];
  for (const path of [...entries.keys()].sort(byBytes)) blocks.push(...entryBlocks(path, entries.get(path) ?? ''));
  blocks.push(Buffer.alloc(2 * BLOCK_BYTES));
  return Buffer.concat(blocks);
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

function foldersAbove(path: string): string[] {
  const parts = path.replace(/\/$/, '').split('/');
  return parts.slice(0, -1).map((_, i) => `${parts.slice(0, i + 1).join('/')}/`);
}

function entryBlocks(path: string, file: FileSpec): Uint8Array[] {
  if (path.endsWith('/')) return [header({ path, type: '5', mode: 0o755, size: 0 })];
  if (typeof file === 'object' && 'symlink' in file) {
    return [header({ path, type: '2', mode: 0o777, size: 0, linkTarget: file.symlink })];
  }
  const { bytes, mode } = typeof file === 'object' && 'bytes' in file ? file : { bytes: file, mode: 0o644 };
  const content = typeof bytes === 'string' ? textBytes(bytes) : bytes;
  const padding = Buffer.alloc((BLOCK_BYTES - (content.byteLength % BLOCK_BYTES)) % BLOCK_BYTES);
  return [header({ path, type: '0', mode, size: content.byteLength }), content, padding];
}

interface HeaderFields {
  readonly path: string;
  /** `0` file, `2` symbolic link, `5` folder. */
  readonly type: '0' | '2' | '5';
  readonly mode: number;
  /** Bytes. */
  readonly size: number;
  readonly linkTarget?: string;
}

/** https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06 (ustar interchange format) */
function header({ path, type, mode, size, linkTarget = '' }: HeaderFields): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  const { prefix, name } = splitPath(path);
  if (Buffer.byteLength(linkTarget) > NAME_BYTES) throw new RangeError(`link target too long for ustar: ${linkTarget}`);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');
  block.write(name, 0);
  block.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(size, 11)}\0${octal(0, 11)}\0`, 100);
  // The checksum is taken with its own field as spaces.
  block.write(' '.repeat(8), 148);
  block.write(type, 156);
  block.write(linkTarget, 157);
  block.write('ustar\0' + '00' + 'root', 257);
  block.write('root', 297);
  block.write(prefix, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148);
  return block;
}

function splitPath(path: string): { prefix: string; name: string } {
  if (Buffer.byteLength(path) <= NAME_BYTES) return { prefix: '', name: path };
  for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
    const prefix = path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (Buffer.byteLength(prefix) > PREFIX_BYTES) break;
    if (name !== '' && Buffer.byteLength(name) <= NAME_BYTES) return { prefix, name };
  }
  throw new RangeError(`path too long for ustar: ${path}`);
}
