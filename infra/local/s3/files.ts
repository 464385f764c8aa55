import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, BlockSums, isBlock } from './block-sums.ts';
import { grouped } from './grouped.ts';

/** A run of bytes in one file of the store. Objects are made of one, or of one per part. */
export interface Segment {
  readonly file: string;
  readonly size: number;
  /** The sums of {@link BlockSums} when it was written. */
  readonly blocks: Uint8Array;
}

/** A file is missing, or its size or bytes changed. Its object no longer counts. */
export class DamageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DamageError';
  }
}

const WRITE_BATCH_BYTES = 1024 * 1024;

/**
 * The bytes of objects and parts. Each file is written once under a random name, and is invisible until a row names it.
 *
 * So no rename is needed, and the next start removes what a kill left. A file is on disk, with its name in the folder,
 * before a row can name it. No byte of a damaged file is given to a reader.
 */
export class Files {
  readonly #folder: string;
  readonly #syncFolder: () => Promise<void>;
  readonly #readers = new Map<string, number>();
  readonly #doomed = new Set<string>();

  private constructor(folder: string) {
    this.#folder = folder;
    this.#syncFolder = grouped(() => syncFolder(folder));
  }

  static async open(folder: string): Promise<Files> {
    await mkdir(folder, { recursive: true });
    return new Files(folder);
  }

  /** The files that are there, and their sizes in bytes. */
  async sizes(): Promise<ReadonlyMap<string, number>> {
    const names = await readdir(this.#folder);
    // All at once: one after the other, ten thousand files take half a second more.
    return new Map(names.map((name) => [name, statSync(join(this.#folder, name)).size]));
  }

  /** Begins a new file. */
  async create(): Promise<NewFile> {
    const name = randomUUID();
    const path = join(this.#folder, name);
    const handle = await open(path, 'wx', 0o600).catch(async (error: unknown) => {
      if (!isMissing(error)) throw error;
      // The folder was deleted: its objects are lost, but the endpoint continues.
      await mkdir(this.#folder, { recursive: true });
      return await open(path, 'wx', 0o600);
    });
    return new NewFile(name, handle, { syncFolder: this.#syncFolder, remove: () => rm(path, { force: true }) });
  }

  /** @throws DamageError if one of them is gone or has another size. */
  async check(segments: readonly Segment[]): Promise<void> {
    await Promise.all(segments.map((segment) => this.#check(segment)));
  }

  async #check({ file, size }: Segment): Promise<void> {
    const found = await stat(join(this.#folder, file)).catch((error: unknown) => raise(error, file));
    checkSize(file, found.size, size);
  }

  /**
   * All bytes of segments of at most one block each. Synchronous: through the thread pool the four calls would take longer than the rest of a HEAD.
   *
   * @throws DamageError if they differ from what was written.
   */
  readSmall(segments: readonly Segment[]): Buffer {
    return Buffer.concat(segments.map((segment) => this.#readSmall(segment)));
  }

  #readSmall({ file, size, blocks }: Segment): Buffer {
    let opened: number | undefined;
    try {
      opened = openSync(join(this.#folder, file), 'r');
      checkSize(file, fstatSync(opened).size, size);
      const bytes = Buffer.allocUnsafe(size);
      if (size > 0) checkBlock({ file, blocks }, 0, bytes.subarray(0, readSync(opened, bytes)));
      return bytes;
    } catch (error) {
      return raise(error, file);
    } finally {
      if (opened !== undefined) closeSync(opened);
    }
  }

  /** Removes files that no row names any more, once no answer reads them. */
  async discard(files: readonly string[]): Promise<void> {
    for (const file of files) {
      if (this.#readers.has(file)) this.#doomed.add(file);
      else await rm(join(this.#folder, file), { force: true });
    }
  }

  /**
   * The bytes from `start` to before `end` of the joined segments. Call {@link hold} before.
   *
   * @throws DamageError in place of the first bytes that differ from what was written.
   */
  async *read(segments: readonly Segment[], start: number, end: number): AsyncGenerator<Buffer> {
    let base = 0;
    for (const segment of segments) {
      const from = Math.max(start - base, 0);
      const to = Math.min(end - base, segment.size);
      base += segment.size;
      if (from < to) yield* this.#bytesOf(segment, from, to);
    }
  }

  /** Keeps the files until {@link release}, even if they are deleted. */
  hold(segments: readonly Segment[]): void {
    for (const { file } of segments) this.#readers.set(file, (this.#readers.get(file) ?? 0) + 1);
  }

  /** Ends what {@link hold} began; call it once for each. */
  async release(segments: readonly Segment[]): Promise<void> {
    for (const { file } of segments) {
      const left = (this.#readers.get(file) ?? 1) - 1;
      if (left > 0) this.#readers.set(file, left);
      else {
        this.#readers.delete(file);
        if (this.#doomed.delete(file)) await rm(join(this.#folder, file), { force: true });
      }
    }
  }

  /** Block by block: the checksum covers a whole block. */
  async *#bytesOf({ file, size, blocks }: Segment, from: number, to: number): AsyncGenerator<Buffer> {
    await using handle = await open(join(this.#folder, file), 'r').catch((error: unknown) => raise(error, file));
    for (let at = from - (from % BLOCK_BYTES); at < to; at += BLOCK_BYTES) {
      const bytes = await readFully(handle, at, Math.min(BLOCK_BYTES, size - at));
      checkBlock({ file, blocks }, at, bytes);
      yield bytes.subarray(Math.max(from - at, 0), to - at);
    }
  }
}

/** Fewer where the file ends before. */
async function readFully(handle: FileHandle, at: number, size: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await handle.read(buffer, filled, size - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function checkSize(file: string, found: number, size: number): void {
  if (found !== size) throw new DamageError(`file ${file} has ${found} bytes instead of ${size}`);
}

function checkBlock({ file, blocks }: Pick<Segment, 'file' | 'blocks'>, at: number, bytes: Buffer): void {
  if (isBlock(blocks, at / BLOCK_BYTES, bytes)) return;
  throw new DamageError(`file ${file} has other bytes than were written, between ${at} and ${at + bytes.length}`);
}

/** @throws DamageError if the file is missing; any other error as it is. */
function raise(error: unknown, file: string): never {
  throw isMissing(error) ? new DamageError(`file ${file} is gone`) : error;
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Makes the names of new files in the folder survive a power cut. Windows keeps names with the files, and cannot open a folder. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  await using handle = await open(folder, 'r');
  await handle.sync();
}

/** A file that is being written. Removed when disposed without `keep`. */
export class NewFile implements AsyncDisposable {
  readonly name: string;
  readonly #handle: FileHandle;
  readonly #syncFolder: () => Promise<void>;
  readonly #remove: () => Promise<void>;
  readonly #sums = new BlockSums();
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #kept = false;

  constructor(
    name: string,
    handle: FileHandle,
    { syncFolder, remove }: { readonly syncFolder: () => Promise<void>; readonly remove: () => Promise<void> },
  ) {
    this.name = name;
    this.#handle = handle;
    this.#syncFolder = syncFolder;
    this.#remove = remove;
  }

  /** Writes the next bytes. If it returns a promise, await it first: the disk is behind. */
  write(bytes: Buffer): Promise<void> | undefined {
    this.#sums.add(bytes);
    this.#batch.push(bytes);
    this.#batchBytes += bytes.length;
    return this.#batchBytes < WRITE_BATCH_BYTES ? undefined : this.#flush();
  }

  /** All bytes are on disk, with the file's name, and the file is closed. Returns the checksums of its blocks. */
  async finish(): Promise<Uint8Array> {
    await this.#flush();
    await this.#writing;
    await Promise.all([this.#handle.datasync(), this.#syncFolder()]);
    await this.#handle.close();
    return this.#sums.end();
  }

  /** Keeps the file: a row names it now. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#kept) return;
    await Promise.allSettled([this.#writing]);
    await this.#handle.close();
    await this.#remove();
  }

  /** Writes the batch after the previous one: one batch is in flight while the next one fills. */
  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#writing;
    if (batch.length > 0) this.#writing = this.#writeAll(batch);
    // Awaited by the next flush or by disposal; until then a failure must not count as unhandled.
    this.#writing.catch(() => undefined);
  }

  async #writeAll(batch: Buffer[]): Promise<void> {
    let left = batch;
    while (left.length > 0) {
      const { bytesWritten } = await this.#handle.writev(left);
      left = dropBytes(left, bytesWritten);
    }
  }
}

/** The rest after a short write. */
function dropBytes(batch: readonly Buffer[], bytes: number): Buffer[] {
  let drop = bytes;
  return batch.flatMap((buffer) => {
    const rest = buffer.subarray(Math.min(drop, buffer.length));
    drop -= buffer.length - rest.length;
    return rest.length > 0 ? [rest] : [];
  });
}
