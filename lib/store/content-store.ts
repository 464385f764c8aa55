import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';

/** An object at `blobs/<algorithm>/<hex>`. Seeing it means that it is whole and true (I1). */
export interface StoredContent {
  /** Bytes. */
  readonly size: number;
  readonly etag: string;
  /** Base64 CRC-32 of the whole object, where S3 keeps one (multipart objects). */
  readonly crc32?: string;
  /** Base64 SHA-256 of the whole object, where S3 keeps one (objects written by one PUT). */
  readonly sha256?: string;
  /** Who the bytes were fetched from when they were written: kept as metadata of the object, so that it survives a kill before the row. */
  readonly domain?: TrustDomain;
}

/**
 * How far an ingest came: enough for another process to go on mid-blob. Lives on the blob's row (docs/design.md, section 3).
 * `hashState` covers exactly `partsDone * partBytes` bytes, and so does `crc32`.
 */
export interface Checkpoint {
  readonly uploadId: string;
  /** Whose bytes these are, and what the object's metadata will say: nobody else goes on with them (I9). */
  readonly domain: TrustDomain;
  /** Epoch milliseconds at which the upload was begun: never resumed after six days. */
  readonly startedMs: number;
  readonly partBytes: number;
  /** Parts 1…n, all of `partBytes`; `ListParts` is the truth, this is how many the hash covers. */
  readonly partsDone: number;
  /** Base64, exported state of the hash that the digest names. Absent where the blob comes so fast that starting it again is cheaper: then nobody can go on with it. */
  readonly hashState?: string;
  /** Base64 CRC-32. */
  readonly crc32: string;
}

/** Content on its way in. Invisible until `commit`. */
export interface Ingest extends AsyncDisposable {
  /** Bytes already covered: where the source must be opened. 0 for a fresh ingest. */
  readonly offset: number;
  /** Takes the next bytes, in order. Resolves when the window of parts has room again: waiting for it is the back-pressure. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Compares size and digest, and makes the content visible. Also succeeds when the same content is there already.
   *
   * @throws ContentMismatchError, and nothing became visible; StoreError, and where it is retryable the blob must be fetched again by a fresh ingest. So
   * it is, too, where a resumed ingest has another digest: what the predecessor left may be at fault.
   */
  commit(): Promise<StoredContent>;
  /** Gives up: what was uploaded is discarded. Idempotent; a no-op after `commit`. Disposal without commit aborts. */
  abort(): Promise<void>;
  /**
   * Stops, and leaves what was uploaded to a successor. Returns what the successor needs; undefined, and then as {@link abort}, where it could not go
   * on. Nothing is under way any more, and disposal does nothing.
   */
  suspend(): Promise<Checkpoint | undefined>;
  /** How far it came, once there is something worth keeping. */
  checkpoint(): Checkpoint | undefined;
}

/** Content by digest, verified before visible, immutable. */
export interface ContentStore {
  /** What is there, from a HEAD. Undefined on 404 and only then (I6). */
  find(digest: Digest, signal: AbortSignal): Promise<StoredContent | undefined>;
  /** Whether the object is what its name says: by S3's own SHA-256 where that is its name and S3 keeps one of the whole, else by reading its bytes. */
  isContent(content: Descriptor, found: StoredContent, signal: AbortSignal): Promise<boolean>;
  /**
   * The whole bytes, verified again.
   *
   * @throws ContentLostError if the object is gone, or is not what its name says; StoreError.
   */
  read(content: Descriptor, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Stores bytes in memory that were verified by the caller: manifests and configs. One conditional PUT. */
  put(content: Descriptor, bytes: Uint8Array, domain: TrustDomain, signal: AbortSignal): Promise<StoredContent>;
  /**
   * Begins an ingest of `content` fetched from `domain`, from where `resume` stopped. A `resume` that cannot be gone on with (of another domain, too old, without
   * `hashState` or with one that cannot be read, an upload that is gone or has other parts) is discarded: the ingest is then a fresh one, with `offset` 0.
   */
  begin(content: Descriptor, domain: TrustDomain, signal: AbortSignal, resume?: Checkpoint): Promise<Ingest>;
}

/**
 * Where what is said of a reference stands among all that was ever said of it: the higher incarnation of the table is newer, then the higher generation of
 * the pointer. No clock is asked.
 */
export interface RefOrder {
  /** Of the table in which it was published; absent where an older version wrote it, which counts as 0. */
  readonly incarnation?: number;
  readonly generation: number;
}

/** What a tag meant when it was last published: lets the table be rebuilt from the bucket. */
export interface RefRecord extends RefOrder {
  /** `registry/repository:tag`, or `…@digest`. */
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** What the repository held complete of it: the root itself and its entries, whichever pulls brought them. */
  readonly complete: readonly Digest[];
  /** Attestations and foreign layers that its registry did not have. */
  readonly skipped?: readonly Digest[];
  /** Those of `complete` that an index lists and that the registry has as blobs. Only it knew: no type says so. Absent where there are none. */
  readonly blobs?: readonly Digest[];
  /** The same of manifests that need nothing, or nothing that anybody here knows. */
  readonly opaque?: readonly Digest[];
  readonly publishedMs: number;
}

/** The reference was removed, with what was published up to this generation. Stands in place of the record, so that a late publisher does not bring it back. */
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
  /** Writes the record or tombstone, unless what is there is newer. False, and nothing was changed, if it is. */
  write(reference: RefName, entry: RefRecord | RefTombstone, signal: AbortSignal): Promise<boolean>;
  /** The record that is there now. Undefined where there is none, or what is there is no record. */
  find(reference: RefName, signal: AbortSignal): Promise<RefRecord | undefined>;
  /** Every record and tombstone there is. What is too large for one, or none, is reported as such and stops nothing. */
  list(signal: AbortSignal): AsyncIterable<FoundRefRecord>;
  /** Takes away the tombstone under the key of {@link array}, if it is older than any writer lives. */
  forget(key: string, signal: AbortSignal): Promise<void>;
  /** The next incarnation of a table on this bucket: higher than `above`, and than every one before it. No two callers get the same. */
  raiseIncarnation(above: number, signal: AbortSignal): Promise<number>;
}

/** `plans/<pull id>/<n>.json`: what one planning of a workflow found. Immutable; they expire after days. */
export interface Plans {
  /**
   * Writes the `number`th plan of the pull, once. Returns its key.
   *
   * @throws StoreError, also where another plan has that number.
   */
  write(pullId: string, number: number, bytes: Uint8Array, signal: AbortSignal): Promise<string>;
  /** @throws ContentLostError if it is gone; StoreError, also where it has more than `maxBytes`. */
  read(key: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** Makes URLs by which anybody may GET one blob for some minutes. Sends nothing. */
export interface Presigner {
  /**
   * @param lifetimeSeconds at most; never beyond the end of the credentials that sign.
   * @param contentType what S3 will call the content; without it, what it was stored as.
   */
  presign(digest: Digest, options: { readonly lifetimeSeconds: number; readonly contentType?: string }): Promise<URL>;
}
