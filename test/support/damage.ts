import assert from 'node:assert/strict';
import { appendFile, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';

/** Damage to one file of the embedded S3. */
export interface Damage {
  readonly name: string;
  /** Whether the size changes, which HEAD and the start notice. Otherwise only the bytes do. */
  readonly seenBySize: boolean;
  readonly damage: (path: string) => Promise<void>;
}

export const DAMAGES: readonly Damage[] = [
  { name: 'its first byte changed', seenBySize: false, damage: (path) => changeByte(path, () => 0) },
  { name: 'its last byte changed', seenBySize: false, damage: (path) => changeByte(path, (size) => size - 1) },
  { name: 'its file deleted', seenBySize: true, damage: (path) => rm(path) },
  { name: 'cut to nothing', seenBySize: true, damage: (path) => truncate(path, 0) },
  {
    name: 'cut to half',
    seenBySize: true,
    damage: async (path) => truncate(path, Math.floor((await stat(path)).size / 2)),
  },
  { name: 'one byte longer', seenBySize: true, damage: (path) => appendFile(path, 'x') },
];

async function changeByte(path: string, at: (size: number) => number): Promise<void> {
  await using file = await open(path, 'r+');
  const { size } = await file.stat();
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at(size));
  byte.writeUInt8(byte.readUInt8() ^ 1);
  await file.write(byte, 0, 1, at(size));
}

/** The files of the embedded S3 that hold an object with these bytes, in order. */
export async function filesOf(root: string, bytes: Uint8Array): Promise<string[]> {
  const whole = Buffer.from(bytes);
  const found: { path: string; at: number }[] = [];
  for (const name of await readdir(join(root, 'files'))) {
    const path = join(root, 'files', name);
    const content = await readFile(path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return Buffer.alloc(0); // Removed since the folder was read.
    });
    const at = whole.indexOf(content);
    if (content.byteLength > 0 && at !== -1) found.push({ path, at });
  }
  assert.ok(found.length > 0, 'no file has these bytes');
  return found.sort((one, other) => one.at - other.at).map(({ path }) => path);
}
