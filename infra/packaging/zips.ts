import { zipSync, type DeflateOptions, type Zippable } from 'fflate';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

/** 0: no compression; 9: the smallest. */
export type ZipLevel = NonNullable<DeflateOptions['level']>;

/** One zip as it was written. */
export interface Zip {
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** The smallest: each cold start downloads the zip. */
const SMALLEST = 9;
/** Lambda's limit of one function, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const MAX_UNPACKED_BYTES = 250 * 1024 * 1024;
/** Unix mode, in the upper half of a zip's attributes: a plain file that everyone may read, as Lambda requires. */
const UNIX = 3;
const READABLE = 0o100644 << 16;

/**
 * Zips the folder of each function with the configuration to `<outFolder>/<name>.zip`. The same files give the same bytes, on any machine and at any time.
 *
 * @param level of compression
 */
export async function zipFunctions(
  folders: readonly { readonly name: string; readonly folder: string }[],
  config: string,
  outFolder: string,
  level: ZipLevel = SMALLEST,
): Promise<readonly Zip[]> {
  await rm(outFolder, { recursive: true, force: true });
  await mkdir(outFolder, { recursive: true });
  const zips: Zip[] = [];
  // Zips have no time zone: the local parts of this date are the same everywhere.
  const mtime = new Date(1980, 0, 2, 12);
  for (const { name, folder } of folders) {
    const bytes = zipSync(await entriesOf(name, folder, config), { level, mtime, os: UNIX, attrs: READABLE });
    const path = join(outFolder, `${name}.zip`);
    await writeFile(path, bytes);
    zips.push({ name, path, bytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') });
  }
  return zips;
}

async function entriesOf(name: string, folder: string, config: string): Promise<Zippable> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const entries: Zippable = { 'config.json': Buffer.from(config) };
  let bytes = 0;
  for (const path of paths.sort()) {
    const content = await readFile(path);
    bytes += content.byteLength;
    entries[relative(folder, path).split(sep).join('/')] = content;
  }
  if (bytes > MAX_UNPACKED_BYTES) {
    throw new Error(`function ${name} is ${bytes} bytes unpacked; Lambda takes ${MAX_UNPACKED_BYTES}`);
  }
  return entries;
}
