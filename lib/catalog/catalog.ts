import type { Fence } from '../lock/fence.ts';
import type { HeldLease, Lease } from '../lock/lease.ts';
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
  /** The holder of the lock under which it was published: while it holds the lock still, nothing but its release is to come. */
  readonly publishedBy?: string;
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
  /**
   * Those of `entries`, and the root itself, whose content is known to be all in the store (I2): as it was seen at `epoch`, and nothing was found to be lost
   * since. One that is not in it may be complete by its rows all the same: see {@link Catalog.findWhole}.
   */
  readonly complete: ReadonlySet<Digest>;
  /** Configs and layers of each complete entry, so that a hit can count them without reading manifests. An entry that is a blob has itself there. */
  readonly contents: { get(entry: Digest): readonly ContentTally[] | undefined };
  /** Layers that a registry need not hold. Those that the repository's registry did hold are among what it may serve, and complete or not as entries are. */
  readonly foreign: readonly ForeignLayer[];
}

/** A layer of one of a root's entries that no registry need hold. */
export interface ForeignLayer extends Descriptor {
  readonly entry: Digest;
}

/** One config or layer, by enough of its digest to tell it from the others of the same root. */
export interface ContentTally {
  readonly id: string;
  /** Bytes. */
  readonly size: number;
}

/** What the catalogue knows of a root, for one repository. */
export interface FoundRoot {
  readonly root?: Root;
  /** Those of the root's entries that this repository may serve (I9). Absent where the repository has no link to the root. */
  readonly linked?: ReadonlySet<Digest>;
  /** Attestations and foreign layers of the root that the repository's registry did not have when it was asked last. */
  readonly skipped?: ReadonlySet<Digest>;
  /** How often content was found to be lost, for this root: what is read from here on is newer. */
  readonly epoch: number;
  /** The epoch of what is remembered of it, complete or not. */
  readonly stamp?: number;
}

/** What the catalogue knows of one reference: two round trips. */
export interface Found extends Partial<FoundRoot> {
  readonly pointer?: Pointer;
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
  /**
   * A random id, new whenever the row is made to say what the store holds. Who writes that must have read it before asking the store: then what was written
   * meanwhile is never undone by an older look. Undefined until the first of these writes.
   */
  readonly commit?: string;
  /** Who copies it now, if somebody does. */
  readonly claim?: HeldLease;
  /** Bytes; known once present. */
  readonly size?: number;
  readonly etag?: string;
  readonly crc32?: string;
  readonly domains: ReadonlySet<TrustDomain>;
  /** Of the ingest under way, or of one that died. */
  readonly checkpoint?: Checkpoint;
}

/** What the store holds, as a row is to say it. */
export interface BlobRecord {
  readonly content: Descriptor;
  readonly stored: StoredContent;
  /** Those that proved to hold it, beside those that the row names already. */
  readonly domains: readonly TrustDomain[];
  /** {@link BlobRow.commit} as it was read before the store was asked. */
  readonly commit: string | undefined;
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
  /** Attestations and foreign layers that the registry does not have. */
  readonly skipped?: readonly Digest[];
  /** The reference's pointer as it was read under the lock, with the resolution that this publishes. */
  readonly pointer: Pointer | undefined;
  /** When the upstream was asked what the reference means. */
  readonly checkedMs: number;
  readonly publishedMs: number;
  /** The epoch of the root, read before any row of its content was, and the stamp of what was remembered then. */
  readonly epoch: number;
  /** Of the table; absent where the bucket, which decides it for a new table, could not be asked. */
  readonly incarnation?: number;
  /** Of the record from which it is published again; without it, the next one. */
  readonly generation?: number;
  readonly stamp?: number | undefined;
  /** What was known of the root: what would not change is not written. */
  readonly known?: Pick<FoundRoot, 'root' | 'linked' | 'skipped'>;
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
  /** The same for a root that is known by digest, whether or not the reference's pointer names it yet. Consistent. */
  findRoot(repository: Repository, digest: Digest, signal: AbortSignal): Promise<FoundRoot>;
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
  /** Both of these at once. Consistent. */
  findContents(
    repository: Repository,
    digests: readonly Digest[],
    signal: AbortSignal,
  ): Promise<{ readonly links: ReadonlyMap<Digest, Link>; readonly blobs: ReadonlyMap<Digest, BlobRow> }>;
  /** The rows of the digests that have one. Consistent. */
  findBlobs(digests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, BlobRow>>;
  /** The row of the blob as its claim found it. Reads nothing. */
  blobOf(claim: Lease): BlobRow;
  /** How often content was found to be lost, for this root: to be read before the rows of its content are. Consistent. */
  readEpoch(root: Digest, signal: AbortSignal): Promise<number>;
  /**
   * Which of the manifests and indexes of the root are complete by the rows of all their content (I2). With `remember`, what is found is kept with its epoch, if
   * that works at the first try. Those of `bare` need nothing but themselves. Two reads and one for each hundred of their blobs. Consistent.
   */
  findWhole(
    root: Digest,
    manifests: readonly Digest[],
    options: { remember: boolean; bare?: ReadonlyMap<Digest, unknown>; signal: AbortSignal },
  ): Promise<ReadonlySet<Digest>>;

  /**
   * The content is in the store, by a look after `commit` was read. For content that needs no claim (manifests), and for what is found there.
   *
   * @returns false if the row was written meanwhile: read it, and ask the store again.
   */
  recordBlob(record: BlobRecord, signal: AbortSignal): Promise<boolean>;
  /**
   * The same for a blob whose claim is ours; frees the claim in the same write. Gives the row where it was written meanwhile, and then nothing is changed: ask the
   * store again.
   *
   * @throws LeaseLostError if the claim is ours no more.
   */
  commitBlob(claim: Lease, record: BlobRecord, signal: AbortSignal): Promise<BlobRow | undefined>;
  /** Keeps how far an ingest came. @throws LeaseLostError */
  saveCheckpoint(claim: Fence, digest: Digest, checkpoint: Checkpoint, signal: AbortSignal): Promise<void>;
  /**
   * The store does not hold the content of these rows, by a look after they were read. Those that said present say absent from now on, and with them every root
   * has a new epoch, in transactions of up to 84 rows. The others get a new commit, so that a copier who was answered meanwhile asks again.
   *
   * @returns the digests of rows that were written meanwhile, and not changed: read them, and ask the store again.
   */
  recordLoss(rows: readonly BlobRow[], signal: AbortSignal): Promise<readonly Digest[]>;

  /** Idempotent, in batches. */
  writeLinks(repository: Repository, links: readonly Link[], signal: AbortSignal): Promise<void>;
  /** Links content before a publish does: that of a manifest that is about to land, or of a blob. What a publish said of it stays. */
  linkEarly(repository: Repository, link: Omit<Link, 'neededBy'>, signal: AbortSignal): Promise<void>;
  /** Says that `neededBy`, a manifest or index that is about to be linked, needs the digests, whether or not the repository may serve them. Idempotent, in batches. */
  writeNeeds(repository: Repository, digests: readonly Digest[], neededBy: Digest, signal: AbortSignal): Promise<void>;
  /** What landed in the repository and needs the digest, as far as its rows say: one read, at most two of them. Consistent. */
  findNeededBy(repository: Repository, digest: Digest, signal: AbortSignal): Promise<readonly Digest[]>;
  /** What each manifest needs: its configs and layers. Written before the manifest itself is recorded. Idempotent, in batches. */
  writeContents(contents: ReadonlyMap<Digest, readonly Digest[]>, signal: AbortSignal): Promise<void>;
  /** What {@link writeContents} wrote, for those of the manifests of which it did. Consistent. */
  findNeeds(manifests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, readonly Digest[]>>;

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
  /**
   * Makes it visible, in one transaction that holds only if the lock is still ours (I3) and nothing was found to be lost since `epoch`. Where something was, the rows
   * of all its content are read again, until they and the epoch stand together. Returns the pointer as it stands now.
   *
   * @throws LeaseLostError; ContentSweptError where content is really gone.
   */
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
  /** What the tags mean whose names begin with `prefix`: the first eight, in one read. */
  findTagsWith(repository: Repository, prefix: string, signal: AbortSignal): Promise<readonly Pointer[]>;
  /** What is published in one repository, in the order of the pointers (digests, as `@…`, among the tags); those after `after`. */
  imagesOf(repository: Repository, after: string | undefined, signal: AbortSignal): AsyncIterable<CachedReference>;

  /** Removes every row that another version of Entrepot wrote, and that this one refuses. How many there were. */
  removeOtherVersions(signal: AbortSignal): Promise<number>;
}
