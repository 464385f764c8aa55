import { randomBytes } from 'node:crypto';
import type { Algorithm, ChecksumType } from './checksums.ts';
import type { Database, Query } from './database.ts';
import type { Segment } from './files.ts';

/** What a multipart upload was created with. */
export interface NewUpload {
  readonly bucket: string;
  readonly key: string;
  readonly startedMs: number;
  /** Response headers of the object to be. */
  readonly headers: Readonly<Record<string, string>>;
  readonly checksum: { readonly algorithm: Algorithm; readonly type: ChecksumType } | undefined;
}

/** An open multipart upload. */
export interface Upload extends NewUpload {
  readonly id: string;
}

/** An uploaded part; `checksum` is Base64, and its algorithm that of the upload where that names one. */
export interface Part extends Segment {
  readonly number: number;
  readonly etag: string;
  readonly algorithm: Algorithm | null;
  readonly checksum: string | null;
  readonly modifiedMs: number;
}

interface UploadRow {
  id: string;
  bucket: string;
  key: Uint8Array;
  startedMs: number;
  headers: string;
  algorithm: Algorithm | null;
  checksumType: ChecksumType | null;
}

/** How long a repeated Complete gets the answer of the first. */
const REPEAT_MS = 24 * 3600 * 1000;

/** Open multipart uploads, and the answers of finished ones. Changes must run inside {@link Database.change}. */
export class UploadRows {
  readonly #add: Query<never>;
  readonly #find: Query<UploadRow>;
  readonly #list: Query<UploadRow>;
  readonly #remove: Query<never>;
  readonly #putPart: Query<never>;
  readonly #part: Query<Part>;
  readonly #parts: Query<Part>;
  readonly #allParts: Query<{ upload: string; number: number; file: string; size: number }>;
  readonly #removePart: Query<never>;
  readonly #removeParts: Query<never>;
  readonly #remember: Query<never>;
  readonly #forget: Query<never>;
  readonly #answer: Query<{ request: string; answer: string }>;

  constructor(database: Database) {
    this.#add = database.query('INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#find = database.query('SELECT * FROM upload WHERE bucket = ? AND key = ? AND id = ?');
    this.#list = database.query('SELECT * FROM upload WHERE bucket = ? AND key >= ? ORDER BY key, startedMs, id');
    this.#remove = database.query('DELETE FROM upload WHERE id = ?');
    this.#putPart = database.query('INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#part = database.query('SELECT * FROM part WHERE upload = ? AND number = ?');
    this.#parts = database.query('SELECT * FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?');
    this.#allParts = database.query('SELECT upload, number, file, size FROM part');
    this.#removePart = database.query('DELETE FROM part WHERE upload = ? AND number = ?');
    this.#removeParts = database.query('DELETE FROM part WHERE upload = ?');
    this.#remember = database.query('INSERT INTO completed VALUES (?, ?, ?, ?)');
    this.#forget = database.query('DELETE FROM completed WHERE completedMs < ?');
    this.#answer = database.query('SELECT request, answer FROM completed WHERE upload = ?');
  }

  /** Returns its id. */
  add(upload: NewUpload): string {
    const id = randomBytes(24).toString('base64url');
    const { algorithm = null, type = null } = upload.checksum ?? {};
    const headers = JSON.stringify(upload.headers);
    this.#add.run(id, upload.bucket, Buffer.from(upload.key), upload.startedMs, headers, algorithm, type);
    return id;
  }

  find(bucket: string, key: string, id: string): Upload | undefined {
    const row = this.#find.first(bucket, Buffer.from(key), id);
    return row === undefined ? undefined : uploadOf(row);
  }

  /** The open uploads of the bucket by key, oldest first within a key. */
  *from(bucket: string, start: Uint8Array): Generator<Upload> {
    for (const row of this.#list.each(bucket, start)) yield uploadOf(row);
  }

  /** Puts the part, and returns the files of the one that it replaced. */
  putPart(upload: Upload, part: Part): string[] {
    const before = this.#part.first(upload.id, part.number);
    const { number, file, size, blocks, etag, algorithm, checksum, modifiedMs } = part;
    this.#putPart.run(upload.id, number, file, size, blocks, etag, algorithm, checksum, modifiedMs);
    return before === undefined ? [] : [before.file];
  }

  /** In order of their numbers. */
  parts(upload: Upload, afterNumber: number, limit: number): Part[] {
    return this.#parts.all(upload.id, afterNumber, limit);
  }

  /** The parts of all uploads. */
  allParts(): { upload: string; number: number; file: string; size: number }[] {
    return this.#allParts.all();
  }

  removePart(upload: string, number: number): void {
    this.#removePart.run(upload, number);
  }

  /** Deletes the rows of the upload and its parts; the caller removes the files. */
  remove(upload: Upload): void {
    this.#removeParts.run(upload.id);
    this.#remove.run(upload.id);
  }

  /** Keeps the answer of a Complete by its fingerprint `request`, and deletes old ones. */
  remember(upload: Upload, request: string, answer: string, nowMs: number): void {
    this.#forget.run(nowMs - REPEAT_MS);
    this.#remember.run(upload.id, request, answer, nowMs);
  }

  /** The answer to the same Complete before. */
  findAnswer(id: string, request: string): string | undefined {
    const row = this.#answer.first(id);
    return row?.request === request ? row.answer : undefined;
  }
}

function uploadOf(row: UploadRow): Upload {
  const { id, bucket, startedMs, algorithm, checksumType: type } = row;
  return {
    id,
    bucket,
    key: Buffer.from(row.key).toString(),
    startedMs,
    headers: JSON.parse(row.headers) as Record<string, string>,
    checksum: algorithm !== null && type !== null ? { algorithm, type } : undefined,
  };
}
