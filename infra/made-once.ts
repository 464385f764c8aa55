import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock } from './local/file-lock.ts';

/** Entries unused for this long are removed when a new one is made. */
const KEPT_MS = 24 * 60 * 60_000;
const LOCK_POLL_MS = 50;

/**
 * The folder `<cache>/<key>`, made by `make` if it is missing. It is complete whenever it exists, even after a kill, and only one of
 * several processes makes it. Its users only read it.
 */
export async function madeOnce(cache: string, key: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cache, key);
  mkdirSync(cache, { recursive: true });
  using _ = existsSync(folder) ? undefined : await lockOf(cache);
  if (!existsSync(folder)) {
    removeUnused(cache);
    const unfinished = join(cache, 'unfinished');
    rmSync(unfinished, { recursive: true, force: true });
    await make(unfinished);
    renameSync(unfinished, folder);
  }
  const now = new Date();
  utimesSync(folder, now, now);
  return folder;
}

/** Puts what was made once where it is used: as the same files, which nobody may write to, where the file system lets them have a second name. */
export function placeMade(made: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const entry of readdirSync(made, { withFileTypes: true })) {
    const [from, to] = [join(made, entry.name), join(folder, entry.name)];
    if (entry.isDirectory()) placeMade(from, to);
    else linkOrCopy(from, to);
  }
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to); // Another file system, or one without links: what else is wrong is wrong for a copy, too.
  }
}

/** Of the names and bytes of these files and, whole, folders. */
export function contentKey(root: string, paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const path of paths.flatMap((name) => filesAt(join(root, name)))) {
    const bytes = readFileSync(path);
    hash.update(`\0${relative(root, path)}\0${bytes.byteLength}\0`).update(bytes);
  }
  return hash.digest('hex').slice(0, 32);
}

function filesAt(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function lockOf(cache: string): Promise<Disposable> {
  for (;;) {
    const lock = tryLock(join(cache, 'lock'), 0);
    if (lock !== undefined) return lock;
    await sleep(LOCK_POLL_MS);
  }
}

function removeUnused(cache: string): void {
  for (const entry of readdirSync(cache, { withFileTypes: true })) {
    const path = join(cache, entry.name);
    if (entry.isDirectory() && Date.now() - statSync(path).mtimeMs > KEPT_MS) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
