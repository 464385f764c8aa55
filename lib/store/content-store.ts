import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';

/** An object at `blobs/<algorithm>/<hex>`. If it is visible, it is complete and verified (I1). */
export interface StoredContent {
  /** Bytes. */
  readonly size: number;
  readonly etag: string;
  /** Base64 CRC-32 of the whole object, if S3 keeps one (multipart objects). */
  readonly crc32?: string;
  /** Base64 SHA-256 of the whole object, if S3 keeps one (objects written by one PUT). */
  readonly sha256?: string;
  /**
   * The domain from which the bytes were fetched. Kept in the object's metadata, so that it survives a kill
   * before the row is written.
   */
  readonly domain?: TrustDomain;
}

/**
 * How far an ingest got: enough for another process to resume it. Kept in the blob's row (docs/design.md, section 3).
 * `hashState` and `crc32` cover exactly `partsDone * partBytes` bytes.
 */
export interface Checkpoint {
  readonly uploadId: string;
  /** The domain of these bytes, also in the object's metadata. No other domain resumes them (I9). */
  readonly domain: TrustDomain;
  /** When the upload was begun, epoch milliseconds. Never resumed after six days. */
  readonly startedMs: number;
  readonly partBytes: number;
  /** Parts 1…n that the hash covers, all of `partBytes`. `ListParts` says what S3 has. */
  readonly partsDone: number;
  /**
   * Base64, exported state of the digest's hash. Absent if the blob comes so fast that starting again is
   * cheaper: then it cannot be resumed.
   */
  readonly hashState?: string;
  /** Base64 CRC-32. */
  readonly crc32: string;
}

/** Content that is being stored. Invisible until `commit`. */
export interface Ingest extends AsyncDisposable {
  /** Bytes that are there already: open the source at this offset. 0 for a fresh ingest. */
  readonly offset: number;
  /** Takes the next bytes, in order. Resolves when the window of parts has room again; this is the back-pressure. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Compares size and digest, and makes the content visible. Also succeeds when the same content is there
   * already.
   *
   * @throws ContentMismatchError, and nothing became visible; StoreError: if it is retryable, fetch the blob
   * again with a fresh ingest. A wrong digest of a resumed ingest is such a StoreError, because what the
   * predecessor left may be wrong.
   */
  commit(): Promise<StoredContent>;
  /** Discards what was uploaded. Idempotent; does nothing after `commit`. Disposal without commit aborts. */
  abort(): Promise<void>;
  /**
   * Stops, and leaves what was uploaded to a successor. Returns what the successor needs; if the ingest
   * cannot be resumed, aborts and returns undefined. Afterwards no request is under way, and disposal does
   * nothing.
   */
  suspend(): Promise<Checkpoint | undefined>;
  /** How far it got; undefined while there is nothing worth keeping. */
  checkpoint(): Checkpoint | undefined;
}

/** Content by digest, verified before visible, immutable. */
export interface ContentStore {
  /** The object by HEAD. Undefined on 404 and only then (I6). */
  find(digest: Digest, signal: AbortSignal): Promise<StoredContent | undefined>;
  /**
   * Whether the object has the digest of its key: by S3's SHA-256 of the whole object if there is one to
   * compare, else by reading its bytes.
   */
  isContent(content: Descriptor, found: StoredContent, signal: AbortSignal): Promise<boolean>;
  /**
   * The whole bytes, verified again.
   *
   * @throws ContentLostError if the object is gone, or does not have the digest of its key; StoreError.
   */
  read(content: Descriptor, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Stores bytes that the caller has in memory and has verified: manifests and configs. One conditional PUT. */
  put(content: Descriptor, bytes: Uint8Array, domain: TrustDomain, signal: AbortSignal): Promise<StoredContent>;
  /**
   * Begins an ingest of `content` from `domain`, where `resume` stopped. A checkpoint that cannot be resumed
   * (another domain, too old, no readable `hashState`, an upload that is gone or has other parts) is
   * discarded: then the ingest is a fresh one, with `offset` 0.
   */
  begin(content: Descriptor, domain: TrustDomain, signal: AbortSignal, resume?: Checkpoint): Promise<Ingest>;
}

/**
 * The order of all records and tombstones of one reference: the higher incarnation of the table is newer,
 * then the higher generation of the pointer. No clock decides.
 */
export interface RefOrder {
  /** The incarnation of the table in which it was published; absent counts as 0. */
  readonly incarnation?: number;
  readonly generation: number;
}

/** What a tag meant when it was last published: from this the table can be rebuilt. */
export interface RefRecord extends RefOrder {
  /** `registry/repository:tag`, or `…@digest`. */
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** What was complete for the repository: the root itself and its entries, from all pulls so far. */
  readonly complete: readonly Digest[];
  /** Attestations and foreign layers that its registry did not have. */
  readonly skipped?: readonly Digest[];
  /** Those of `complete` that an index lists without a type, and that the registry has as blobs. Absent if there are none. */
  readonly blobs?: readonly Digest[];
  /** The same for manifests of an unknown type. */
  readonly opaque?: readonly Digest[];
  readonly publishedMs: number;
}

/**
 * The reference was removed, with everything that was published up to this generation. It replaces the
 * record, so that a late publisher does not restore it.
 */
export interface RefTombstone extends RefOrder {
  readonly reference: string;
  readonly removedMs: number;
}

/** An object under `refs/`: a record, a tombstone, or what is wrong with it. */
export type FoundRefRecord =
  | { readonly key: string; readonly record: RefRecord; readonly tombstone?: never; readonly problem?: never }
  | { readonly key: string; readonly record?: never; readonly tombstone: RefTombstone; readonly problem?: never }
  | { readonly key: string; readonly record?: never; readonly tombstone?: never; readonly problem: string };

/** What a record is about: a tag, or `@` and a digest, of a repository. */
export interface RefName {
  readonly registry: string;
  readonly path: string;
  readonly pointer: string;
}

/** `refs/<registry>/<repository>/<tag>.json`. */
export interface RefRecords {
  /** Writes the record or tombstone, unless there is a newer one: then returns false and changes nothing. */
  write(reference: RefName, entry: RefRecord | RefTombstone, signal: AbortSignal): Promise<boolean>;
  /** The record that is there now. Undefined if there is none, or the object is not a record. */
  find(reference: RefName, signal: AbortSignal): Promise<RefRecord | undefined>;
  /** Every record and tombstone. An object that is too large, or not one of them, is returned with its problem. */
  list(signal: AbortSignal): AsyncIterable<FoundRefRecord>;
  /** Removes the tombstone under a key from {@link RefRecords.list}, if it is older than any writer lives. */
  forget(key: string, signal: AbortSignal): Promise<void>;
  /** The next incarnation of a table on this bucket: higher than `above` and than all before it, and never given twice. */
  raiseIncarnation(above: number, signal: AbortSignal): Promise<number>;
}

/** `plans/<pull id>/<n>.json`: the plans of one workflow. Immutable; they expire after days. */
export interface Plans {
  /**
   * Writes the `number`th plan of the pull, once. Returns its key.
   *
   * @throws StoreError, also if another plan has that number.
   */
  write(pullId: string, number: number, bytes: Uint8Array, signal: AbortSignal): Promise<string>;
  /** @throws ContentLostError if it is gone; StoreError, also if it has more than `maxBytes`. */
  read(key: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** Makes URLs by which anyone may GET one blob for some minutes. Sends nothing. */
export interface Presigner {
  /**
   * @param options `lifetimeSeconds`: an upper limit; the URL ends with the signing credentials at the latest. `contentType`: the Content-Type of S3's response; without
   *   it, the stored one.
   */
  presign(digest: Digest, options: { readonly lifetimeSeconds: number; readonly contentType?: string }): Promise<URL>;
}
