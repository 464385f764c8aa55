import type { Fence, Lease } from '../lock/lease.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Checkpoint, StoredContent } from '../store/content-store.ts';

/** TAG: what a tag (or `@digest`) of a repository means. `resolved` is what the upstream said last, `published` what the cache holds. */
export interface Pointer {
  readonly resolved?: Digest;
  /** When that resolution began, epoch milliseconds. */
  readonly checkedMs?: number;
  /** Grows with each resolution that is recorded: what was asked before the last of them was recorded is refused. */
  readonly resolutions?: number;
  /** The holder of the lock under which `resolved` was asked for. */
  readonly resolvedBy?: string;
  readonly published?: Digest;
  readonly publishedMs?: number;
  /** What was published before: still servable. */
  readonly previous?: Digest;
  /** When the upstream said that there is no such name; a later resolution takes it back. Epoch milliseconds. */
  readonly missingMs?: number;
  /** When the name was removed; then nothing is resolved or published, and the rest is kept for longer than any writer lives. Epoch milliseconds. */
  readonly removedMs?: number;
  /** Of the table, when it was published last; absent where an older version published it, or the bucket could not be asked. */
  readonly incarnation?: number;
  /** Grows with each publish, and does not start again after a removal. */
  readonly generation: number;
  /** The generation whose record was seen in the bucket. */
  readonly recorded?: number;
}

/** ROOT: a manifest or index that something points to, with what is known of its tree. */
export interface Root extends Descriptor {
  /** Every manifest and nested index below an index; for a single manifest, itself. The same for whoever reads the root's bytes. */
  readonly entries: readonly IndexEntry[];
  /** Those of `entries`, and the root itself, whose content is all in the store (I2). */
  readonly complete: ReadonlySet<Digest>;
  /** Configs and layers of each complete entry, so that a hit can count them without reading manifests. */
  readonly contents: { get(entry: Digest): readonly ContentTally[] | undefined };
  /** Layers that were left out, so that a hit can name them, too. */
  readonly foreign: readonly ForeignLayer[];
}

/** A layer of one of a root's entries that no registry need hold, and the cache does not. */
export interface ForeignLayer extends Descriptor {
  readonly entry: Digest;
}

/** One config or layer, by enough of its digest to tell it from the others of the same root. */
export interface ContentTally {
  readonly id: string;
  /** Bytes. */
  readonly size: number;
}

/** What the catalogue knows of one reference: two round trips. */
export interface Found {
  readonly pointer?: Pointer;
  /** The root that `pointer.published` names. */
  readonly root?: Root;
  /** Those of the root's entries that this repository may serve (I9). Absent where the repository has no link to the root. */
  readonly linked?: ReadonlySet<Digest>;
}

/** LINK: this repository may serve this digest. */
export interface Link extends Descriptor {
  /** Of a manifest: a publish said that its content has landed, too. Content that is found to be lost later does not take it back. */
  readonly landed?: boolean;
  /** Of an index that was linked before its content landed: the tag that led to it. */
  readonly via?: string;
  /** The last manifest or index of the repository that landed and needs it; absent for roots, and where an older version wrote the row. */
  readonly neededBy?: Digest;
}

/** BLOB: one digest, whoever has it. */
export interface BlobRow {
  readonly digest: Digest;
  readonly state: 'absent' | 'present';
  /** Bytes; known once present. */
  readonly size?: number;
  readonly etag?: string;
  readonly crc32?: string;
  readonly domains: ReadonlySet<TrustDomain>;
  /** ETag of an object that was found to be wrong: whoever finds it still there must replace it. */
  readonly distrustedEtag?: string;
  /** Of the ingest under way, or of one that died. */
  readonly checkpoint?: Checkpoint;
}

/** USE: `digest` is needed by `child` of `root` (`child` is the root itself for its own bytes). */
export interface Use {
  readonly digest: Digest;
  readonly root: Digest;
  readonly child: Digest;
}

/** What the upstream said. */
export interface ResolutionRecord {
  readonly resolved: Digest;
  readonly checkedMs: number;
  /** The reference's pointer as it was read before the upstream was asked, under the lock. */
  readonly pointer: Pointer | undefined;
}

/** All that becomes visible at once. */
export interface Publication {
  readonly reference: Reference;
  readonly root: Omit<Root, 'complete' | 'contents' | 'foreign'>;
  /** Entries found complete by this pull, the root itself included. */
  readonly complete: readonly Digest[];
  /** Configs and layers of the entries that this pull read. */
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
  readonly foreign: readonly ForeignLayer[];
  /** The reference's pointer as it was read under the lock, with the resolution that this publishes. */
  readonly pointer: Pointer | undefined;
  /** When the upstream was asked what the reference means. */
  readonly checkedMs: number;
  readonly publishedMs: number;
  /** The sweep epoch read when the pull began under its lock. */
  readonly epoch: number;
  /** Of the table; absent where the bucket, which decides it for a new table, could not be asked. */
  readonly incarnation?: number;
  /** Of the record from which it is published again; without it, the next one. */
  readonly generation?: number;
}

/** A row of `entrepot images`. */
export interface CachedReference {
  readonly reference: Reference;
  readonly pointer: Pointer;
  readonly root?: Root;
  readonly linked?: ReadonlySet<Digest>;
}

/**
 * The metadata of the cache. Every failure is a CatalogError; a throttled or broken table is never "absent" (I6).
 * Reads with `consistent` are for use under a lock or claim.
 */
export interface Catalog {
  /** What is known of the reference. */
  find(reference: Reference, options: { consistent: boolean; signal: AbortSignal }): Promise<Found>;
  /** The same for a root that is known by digest, whether or not the reference's pointer names it yet. */
  findRoot(repository: Repository, digest: Digest, signal: AbortSignal): Promise<Pick<Found, 'root' | 'linked'>>;
  /** Which of the digests this repository may serve. Consistent. */
  findLinks(
    repository: Repository,
    digests: readonly Digest[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<Digest, Link>>;
  /** What the name means, without its root: one read. */
  findPointer(
    reference: Reference,
    options: { consistent: boolean; signal: AbortSignal },
  ): Promise<Pointer | undefined>;
  /** Whether this repository may serve the digest, and whether it is there: one read. */
  findContent(
    repository: Repository,
    digest: Digest,
    options: { consistent: boolean; signal: AbortSignal },
  ): Promise<{ readonly link?: Link; readonly blob?: BlobRow }>;
  /** The rows of the digests that have one. Consistent. */
  findBlobs(digests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, BlobRow>>;
  /** The sweep epoch: a publish holds only while it stands. */
  readEpoch(signal: AbortSignal): Promise<number>;

  /** The content is in the store, and `domains` proved to hold it. For content that needs no claim (manifests), and for healing. */
  recordBlob(
    content: Descriptor,
    stored: StoredContent,
    domains: readonly TrustDomain[],
    signal: AbortSignal,
  ): Promise<void>;
  /** The same for a blob whose claim is ours; frees the claim in the same write. @throws LeaseLostError if it is ours no more. */
  commitBlob(
    claim: Lease,
    content: Descriptor,
    stored: StoredContent,
    domains: readonly TrustDomain[],
    signal: AbortSignal,
  ): Promise<void>;
  /** Keeps how far an ingest came. @throws LeaseLostError */
  saveCheckpoint(claim: Fence, digest: Digest, checkpoint: Checkpoint, signal: AbortSignal): Promise<void>;
  /**
   * The object is gone, or wrong (`distrustedEtag`): the row says so, unless somebody wrote the object anew meanwhile (the row has another ETag than
   * `row`). False if that was so.
   */
  markBlobLost(row: BlobRow, distrustedEtag: string | undefined, signal: AbortSignal): Promise<boolean>;

  /** Idempotent, in batches. */
  writeLinks(repository: Repository, links: readonly Link[], signal: AbortSignal): Promise<void>;
  /** Links content before a publish does: that of a manifest that is about to land, or of a blob. What a publish said of it stays. */
  linkEarly(repository: Repository, link: Omit<Link, 'landed' | 'neededBy'>, signal: AbortSignal): Promise<void>;
  /** Says that `neededBy`, a manifest or index that is about to be linked, needs the digests, whether or not the repository may serve them. Idempotent, in batches. */
  writeNeeds(repository: Repository, digests: readonly Digest[], neededBy: Digest, signal: AbortSignal): Promise<void>;
  /** What landed in the repository and needs the digest, as far as its rows say: one read, at most two of them. Consistent. */
  findNeededBy(repository: Repository, digest: Digest, signal: AbortSignal): Promise<readonly Digest[]>;
  /** Idempotent, in batches. */
  writeUses(uses: readonly Use[], signal: AbortSignal): Promise<void>;
  /** Every use of the digest, by whichever repository, in pages of as many rows as one read gives, at most `pageSize`: thousands of images share some blobs. */
  usesOf(digest: Digest, options: { pageSize?: number; signal: AbortSignal }): AsyncIterable<readonly Use[]>;
  /** All of them. */
  findUses(digest: Digest, signal: AbortSignal): Promise<readonly Use[]>;
  /** Takes `children` out of the root's complete set. */
  uncomplete(root: Digest, children: readonly Digest[], signal: AbortSignal): Promise<void>;
  /** Puts `children` back, if nothing was swept or found to be lost since `epoch` was read. False if it was. */
  recomplete(root: Digest, children: readonly Digest[], epoch: number, signal: AbortSignal): Promise<boolean>;

  /**
   * Moves `resolved`, if the lock is still ours. Returns the pointer as it stands now; undefined, and nothing was changed, if another resolution was recorded since
   * the upstream was asked: which of the two answers is newer is not known then, so it must be asked again.
   *
   * @throws LeaseLostError
   */
  recordResolution(
    reference: Reference,
    resolution: ResolutionRecord,
    lock: Fence,
    signal: AbortSignal,
  ): Promise<Pointer | undefined>;
  /** The upstream says that there is no such name. What is published stays. @throws LeaseLostError */
  recordMissing(reference: Reference, missingMs: number, lock: Fence, signal: AbortSignal): Promise<void>;
  /** Makes it visible, in one transaction that holds only if the lock is still ours (I3). Returns the pointer as it stands now. @throws LeaseLostError */
  publish(publication: Publication, lock: Fence, signal: AbortSignal): Promise<Pointer>;

  /** The record of that generation is in the bucket, under that incarnation. Nothing is changed if the pointer has moved on. */
  confirmRecord(
    reference: Reference,
    order: { readonly incarnation: number; readonly generation: number },
    signal: AbortSignal,
  ): Promise<void>;

  /**
   * Takes away what the name means, if the lock is still ours. The content, and what the repository may serve of it, stay; so does the generation, for longer than
   * any writer lives. @throws LeaseLostError
   */
  removeTag(reference: Reference, lock: Fence, signal: AbortSignal): Promise<void>;

  /** The incarnation of the table, as this process knows it: read once, unless `fresh`. Undefined for a table that has none yet. */
  readIncarnation(options: { fresh: boolean; signal: AbortSignal }): Promise<number | undefined>;
  /** The table has this incarnation from now on, unless it has a higher one. Returns the one that it has. */
  writeIncarnation(number: number, signal: AbortSignal): Promise<number>;

  /** Everything that is published, by repository and pointer. */
  images(signal: AbortSignal): AsyncIterable<CachedReference>;
  /** The repositories that have, or had, content, in the order of their names; those after `after`. */
  repositories(after: Repository | undefined, signal: AbortSignal): AsyncIterable<Repository>;
  /** The tags that mean something in one repository, in order; those after `after`. */
  tagsOf(repository: Repository, after: string | undefined, signal: AbortSignal): AsyncIterable<string>;
  /** What is published in one repository, in the order of the pointers (digests, as `@…`, among the tags); those after `after`. */
  imagesOf(repository: Repository, after: string | undefined, signal: AbortSignal): AsyncIterable<CachedReference>;
}
