import { randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A run of bytes in one file of the store. Objects are made of one, or of one per part. */
export interface Segment {
  readonly file: string;
  readonly size: number;
}

const WRITE_BATCH_BYTES = 1024 * 1024;
const READ_BYTES = 512 * 1024;

/**
 * The bytes of objects and parts: each file is written once under a name nobody guesses, and means nothing until a row names it.
 *
 * So no rename is needed, and what a kill leaves behind is swept at the next start. Written bytes survive the death of this process,
 * not a power cut: nothing is fsynced, which is what lets a development machine keep up with its registry.
 */
export class Files {
  readonly #folder: string;
  readonly #readers = new Map<string, number>();
  readonly #doomed = new Set<string>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Opens the folder, and removes every file that no row names. */
  static async open(folder: string, isNamed: (file: string) => boolean): Promise<Files> {
    await mkdir(folder, { recursive: true });
    for (const file of await readdir(folder)) if (!isNamed(file)) await rm(join(folder, file), { force: true });
    return new Files(folder);
  }

  /** Begins a new file. */
  async create(): Promise<NewFile> {
    const name = randomUUID();
    const path = join(this.#folder, name);
    return new NewFile(name, await open(path, 'wx', 0o600), () => rm(path, { force: true }));
  }

  /** Forgets files that no row names any more, as soon as nobody reads them. */
  async discard(files: readonly string[]): Promise<void> {
    for (const file of files) {
      if (this.#readers.has(file)) this.#doomed.add(file);
      else await rm(join(this.#folder, file), { force: true });
    }
  }

  /** The bytes from `start` to before `end` of the segments in a row. They stay readable from the call on, whatever is deleted. */
  read(segments: readonly Segment[], start: number, end: number): AsyncGenerator<Buffer> {
    for (const { file } of segments) this.#readers.set(file, (this.#readers.get(file) ?? 0) + 1);
    return this.#stream(segments, start, end);
  }

  /** Ends what {@link read} began; call it once for each, read to its end or not. */
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

  async *#stream(segments: readonly Segment[], start: number, end: number): AsyncGenerator<Buffer> {
    let base = 0;
    for (const { file, size } of segments) {
      const from = Math.max(start - base, 0);
      const to = Math.min(end - base, size);
      base += size;
      if (from < to) yield* this.#bytesOf(file, from, to);
    }
  }

  async *#bytesOf(file: string, from: number, to: number): AsyncGenerator<Buffer> {
    await using handle = await open(join(this.#folder, file), 'r');
    for (let at = from; at < to;) {
      const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, to - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error(`File ${file} ends at byte ${at}; its row says that it goes on to ${to}.`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
}

/** A file on its way in. Removed when disposed without `keep`. */
export class NewFile implements AsyncDisposable {
  readonly name: string;
  readonly #handle: FileHandle;
  readonly #remove: () => Promise<void>;
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #kept = false;

  constructor(name: string, handle: FileHandle, remove: () => Promise<void>) {
    this.name = name;
    this.#handle = handle;
    this.#remove = remove;
  }

  /** Takes the next bytes. A promise means: wait for it first, the disk is behind. */
  write(bytes: Buffer): Promise<void> | undefined {
    this.#batch.push(bytes);
    this.#batchBytes += bytes.length;
    return this.#batchBytes < WRITE_BATCH_BYTES ? undefined : this.#flush();
  }

  /** All bytes are with the operating system, and the file is closed. */
  async finish(): Promise<void> {
    await this.#flush();
    await this.#writing;
    await this.#handle.close();
  }

  /** The file stays: a row names it now. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#kept) return;
    await Promise.allSettled([this.#writing]);
    await this.#handle.close();
    await this.#remove();
  }

  /** Hands the batch to the kernel once the one before is there: one batch is in flight while the next one fills. */
  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#writing;
    if (batch.length > 0) this.#writing = this.#writeAll(batch);
    // Awaited by the next flush or by disposal; without this a failure in between would count as unhandled.
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

/** What a short write left over. */
function dropBytes(batch: readonly Buffer[], bytes: number): Buffer[] {
  let drop = bytes;
  return batch.flatMap((buffer) => {
    const rest = buffer.subarray(Math.min(drop, buffer.length));
    drop -= buffer.length - rest.length;
    return rest.length > 0 ? [rest] : [];
  });
}
