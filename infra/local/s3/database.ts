import { closeSync, fdatasync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { grouped } from './grouped.ts';

/*
 * bucket ─< object ─< segment     what is visible
 * bucket ─< upload ─< part        what is open
 *           completed             answers of finished uploads, for a repeated Complete
 *
 * Keys are BLOBs: they compare byte by byte, which is S3's order of listing. `headers` is JSON of the stored response headers.
 * An object's segments are the files of its parts: completing an upload moves rows, never bytes. `blocks` are the checksums of a
 * file's blocks (block-sums.ts).
 */
const SCHEMA = `
CREATE TABLE bucket (name TEXT PRIMARY KEY, createdMs INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE object (
  bucket TEXT NOT NULL REFERENCES bucket, key BLOB NOT NULL, id TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
  modifiedMs INTEGER NOT NULL, headers TEXT NOT NULL, algorithm TEXT, checksum TEXT, checksumType TEXT,
  PRIMARY KEY (bucket, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE segment (
  object TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, blocks BLOB NOT NULL,
  PRIMARY KEY (object, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE upload (
  id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES bucket, key BLOB NOT NULL, startedMs INTEGER NOT NULL,
  headers TEXT NOT NULL, algorithm TEXT, checksumType TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX uploadByKey ON upload (bucket, key, startedMs, id);
CREATE TABLE part (
  upload TEXT NOT NULL REFERENCES upload, number INTEGER NOT NULL, file TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, blocks BLOB NOT NULL,
  etag TEXT NOT NULL, algorithm TEXT, checksum TEXT, modifiedMs INTEGER NOT NULL, PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE completed (
  upload TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL, completedMs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX completedByAge ON completed (completedMs);
PRAGMA user_version = 2;
`;
const SCHEMA_VERSION = 2;
const REMOVE = '; remove the folder of the stack (ENTREPOT_HOME): the next pulls fetch again what was in it';
/** The lock of a predecessor that was just killed may take a moment to be freed. */
const LOCK_TIMEOUT_MS = 3000;

/** Rows, in one SQLite file that belongs to this process alone until it ends. Every call is synchronous, so every {@link change} is atomic. */
export class Database implements Disposable {
  readonly #sqlite: DatabaseSync;
  readonly #log: number;
  /** Commits are appended to SQLite's log: what is there before the call is on disk when it resolves. */
  readonly #sync: () => Promise<void>;

  /** @throws if another process has the file open, it is damaged, or another version of this program wrote it. */
  constructor(path: string) {
    this.#sqlite = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS });
    try {
      this.#open();
    } catch (error) {
      this.#sqlite.close();
      throw isDamaged(error) ? new Error(`${path} is damaged${REMOVE}`, { cause: error }) : error;
    }
    this.#log = openSync(`${path}-wal`, 'r+');
    this.#sync = grouped(() => promisify(fdatasync)(this.#log));
  }

  #open(): void {
    // In WAL mode a commit is a write() to the log: it survives SIGKILL of this process. For a power cut SQLite would sync the log in
    // each commit, and this process would stand still; with synchronous=NORMAL it leaves that to {@link write}.
    this.#sqlite.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
    this.change(() => this.#prepareSchema());
  }

  /** A transaction. Resolves once it is on disk; readers see it earlier. */
  async write<T>(work: () => T): Promise<T> {
    const result = this.change(work);
    await this.#sync();
    return result;
  }

  /** A transaction that a power cut may undo. */
  change<T>(work: () => T): T {
    this.#sqlite.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#sqlite.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#sqlite.isTransaction) this.#sqlite.exec('ROLLBACK');
      throw error;
    }
  }

  /** A statement, prepared once. `Row` is what its columns are by the schema above. */
  query<Row>(sql: string): Query<Row> {
    const statement = this.#sqlite.prepare(sql);
    return {
      run: (...values) => Number(statement.run(...values).changes),
      first: (...values) => statement.get(...values) as Row | undefined,
      all: (...values) => statement.all(...values) as Row[],
      each: (...values) => statement.iterate(...values) as IterableIterator<Row>,
    };
  }

  [Symbol.dispose](): void {
    closeSync(this.#log);
    this.#sqlite.close();
  }

  #prepareSchema(): void {
    const version = this.query<{ user_version: number }>('PRAGMA user_version').first()?.user_version;
    if (version === 0) this.#sqlite.exec(SCHEMA);
    else if (version !== SCHEMA_VERSION) {
      throw new Error(`the S3 state is of schema ${version}, and this version needs ${SCHEMA_VERSION}${REMOVE}`);
    }
  }
}

/** SQLITE_CORRUPT and SQLITE_NOTADB. */
const isDamaged = (error: unknown): boolean => [11, 26].includes((error as { errcode?: number }).errcode ?? 0);

/** The value of a parameter of SQLite. */
export type SqlValue = string | number | null | Uint8Array;

/** One prepared statement. */
export interface Query<Row> {
  /** Returns the number of changed rows. */
  run(...values: SqlValue[]): number;
  first(...values: SqlValue[]): Row | undefined;
  all(...values: SqlValue[]): Row[];
  /** Lazily; stop by breaking the loop. */
  each(...values: SqlValue[]): IterableIterator<Row>;
}
