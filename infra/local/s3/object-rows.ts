import { randomUUID } from 'node:crypto';
import type { Algorithm, ChecksumType } from './checksums.ts';
import type { Database, Query } from './database.ts';
import type { Segment } from './files.ts';

/** The properties of an object, without its place. */
export interface NewObject {
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
  readonly modifiedMs: number;
  /** Stored response headers: content type and the like, `x-amz-meta-*`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly checksum: StoredChecksum | undefined;
  readonly segments: readonly Segment[];
}

/** A verified checksum; `value` is Base64, with `-N` behind it where it is composite. */
export interface StoredChecksum {
  readonly algorithm: Algorithm;
  readonly value: string;
  readonly type: ChecksumType;
}

/** A visible object. */
export interface StoredObject extends Omit<NewObject, 'segments'> {
  readonly key: string;
  readonly id: string;
}

interface ObjectRow {
  key: Uint8Array;
  id: string;
  size: number;
  etag: string;
  modifiedMs: number;
  headers: string;
  algorithm: Algorithm | null;
  checksum: string | null;
  checksumType: ChecksumType | null;
}

/** Buckets and visible objects. Changes must run inside {@link Database.change}. */
export class ObjectRows {
  readonly #addBucket: Query<never>;
  readonly #buckets: Query<{ name: string; createdMs: number }>;
  readonly #bucket: Query<{ name: string }>;
  readonly #find: Query<ObjectRow>;
  readonly #from: Query<ObjectRow>;
  readonly #add: Query<never>;
  readonly #remove: Query<never>;
  readonly #files: Query<{ bucket: string; key: Uint8Array; id: string; file: string; size: number }>;
  readonly #segments: Query<Segment>;
  readonly #addSegment: Query<never>;
  readonly #removeSegments: Query<never>;

  constructor(database: Database) {
    this.#addBucket = database.query('INSERT INTO bucket VALUES (?, ?) ON CONFLICT DO NOTHING');
    this.#buckets = database.query('SELECT name, createdMs FROM bucket ORDER BY name');
    this.#bucket = database.query('SELECT name FROM bucket WHERE name = ?');
    this.#find = database.query('SELECT * FROM object WHERE bucket = ? AND key = ?');
    this.#from = database.query('SELECT * FROM object WHERE bucket = ? AND key >= ? ORDER BY key');
    this.#add = database.query('INSERT INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#remove = database.query('DELETE FROM object WHERE bucket = ? AND key = ?');
    this.#files = database.query(
      'SELECT bucket, key, id, file, segment.size FROM object JOIN segment ON segment.object = object.id',
    );
    this.#segments = database.query('SELECT file, size, blocks FROM segment WHERE object = ? ORDER BY number');
    this.#addSegment = database.query('INSERT INTO segment VALUES (?, ?, ?, ?, ?)');
    this.#removeSegments = database.query('DELETE FROM segment WHERE object = ?');
  }

  /** False if it is there already. */
  addBucket(name: string, nowMs: number): boolean {
    return this.#addBucket.run(name, nowMs) === 1;
  }

  hasBucket(name: string): boolean {
    return this.#bucket.first(name) !== undefined;
  }

  buckets(): { name: string; createdMs: number }[] {
    return this.#buckets.all();
  }

  find(bucket: string, key: string): StoredObject | undefined {
    const row = this.#find.first(bucket, Buffer.from(key));
    return row === undefined ? undefined : objectOf(row);
  }

  /** The objects of the bucket in the order of their keys' bytes. Stop by breaking the loop. */
  *from(bucket: string, start: Uint8Array): Generator<{ keyBytes: Buffer; object: StoredObject }> {
    for (const row of this.#from.each(bucket, start)) yield { keyBytes: Buffer.from(row.key), object: objectOf(row) };
  }

  /** Every file that an object is made of. */
  *files(): Generator<{ bucket: string; key: string; id: string; file: string; size: number }> {
    for (const row of this.#files.each()) yield { ...row, key: Buffer.from(row.key).toString() };
  }

  segments(object: Pick<StoredObject, 'id'>): Segment[] {
    return this.#segments.all(object.id);
  }

  /** Puts the object, and returns the files of the one that it replaced. */
  replace(bucket: string, key: string, object: NewObject): string[] {
    const removed = this.remove(bucket, key);
    const { algorithm = null, value = null, type = null } = object.checksum ?? {};
    const id = randomUUID();
    const headers = JSON.stringify(object.headers);
    this.#add.run(
      bucket,
      Buffer.from(key),
      id,
      object.size,
      object.etag,
      object.modifiedMs,
      headers,
      algorithm,
      value,
      type,
    );
    for (const [number, { file, size, blocks }] of object.segments.entries()) {
      this.#addSegment.run(id, number, file, size, blocks);
    }
    return removed;
  }

  /** Returns the files that no row names any more. */
  remove(bucket: string, key: string): string[] {
    const object = this.find(bucket, key);
    if (object === undefined) return [];
    const files = this.segments(object).map(({ file }) => file);
    this.#removeSegments.run(object.id);
    this.#remove.run(bucket, Buffer.from(key));
    return files;
  }
}

function objectOf(row: ObjectRow): StoredObject {
  const { algorithm, checksum, checksumType } = row;
  const isChecked = algorithm !== null && checksum !== null && checksumType !== null;
  return {
    key: Buffer.from(row.key).toString(),
    id: row.id,
    size: row.size,
    etag: row.etag,
    modifiedMs: row.modifiedMs,
    headers: JSON.parse(row.headers) as Record<string, string>,
    checksum: isChecked ? { algorithm, value: checksum, type: checksumType } : undefined,
  };
}
