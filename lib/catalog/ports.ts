import type { Fence } from '../lock/fence.ts';
import type { Lease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { Checkpoint } from '../store/content-store.ts';
import type {
  BlobRecord,
  BlobRow,
  CachedReference,
  Found,
  FoundRoot,
  Link,
  Pointer,
  Publication,
  ResolutionRecord,
} from './catalog.ts';

/*
 * The metadata of the cache, as small ports: a function takes those that it uses. One table implements all of them ({@link Catalog}).
 *
 *   what                         read            write
 *   ───────────────────────────  ──────────────  ─────────────
 *   what a name means            Pointers        PointerWrites
 *   a root and its tree          Roots           PointerWrites
 *   what is complete (I2)        Completeness    Completeness
 *   who may serve what (I9)      Links           LinkWrites
 *   what the store holds         Blobs           BlobWrites
 *   lists for people             Images
 *   which table this is          TableIdentity   TableIdentity
 *
 * Every failure is a CatalogError; a throttled or broken table is never "absent" (I6). Reads with `consistent` are for use under a lock or claim.
 */

/** Without `consistent` a read is cheaper, and may be slightly out of date. */
interface ReadOptions {
  readonly consistent: boolean;
  readonly signal: AbortSignal;
}

/** What names mean. */
export interface Pointers {
  /** What the name means, without its root: one read. */
  findPointer(reference: Reference, options: ReadOptions): Promise<Pointer | undefined>;
  /** The tags that mean something in one repository, in order; those after `after`. */
  tagsOf(repository: Repository, after: string | undefined, signal: AbortSignal): AsyncIterable<string>;
  /** The pointers of the tags that begin with `prefix`: the first eight, in one read. */
  findTagsWith(repository: Repository, prefix: string, signal: AbortSignal): Promise<readonly Pointer[]>;
}

/** Changes what names mean. Every write but {@link PointerWrites.confirmRecord} holds only under the lock of the reference. */
export interface PointerWrites {
  /**
   * Moves `resolved`, if the lock is still ours, and returns the new pointer. Returns undefined, and changes
   * nothing, if another resolution was recorded since the upstream was asked: then ask it again, because
   * either answer may be the newer one.
   *
   * @throws LeaseLostError
   */
  recordResolution(
    reference: Reference,
    resolution: ResolutionRecord,
    lock: Fence,
    signal: AbortSignal,
  ): Promise<Pointer | undefined>;
  /** Records that the upstream has no such name. What is published stays. @throws LeaseLostError */
  recordMissing(reference: Reference, missingMs: number, lock: Fence, signal: AbortSignal): Promise<void>;
  /**
   * Makes the root visible and returns the new pointer: one transaction that holds only if the lock is still
   * ours (I3) and no content was lost since `epoch`. If the epoch moved, the rows of all its content are read
   * again, and the transaction is tried again.
   *
   * @throws LeaseLostError; ContentSweptError where content of this root is gone.
   */
  publish(publication: Publication, lock: Fence, signal: AbortSignal): Promise<Pointer>;
  /** Notes that the bucket has the record of that generation and incarnation. Changes nothing if the pointer has moved on. */
  confirmRecord(
    reference: Reference,
    order: { readonly incarnation: number; readonly generation: number },
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * Removes the name. The content and its links stay. The row keeps its generation until no writer from
   * before the removal can still be running.
   *
   * @throws LeaseLostError
   */
  removeTag(reference: Reference, lock: Fence, signal: AbortSignal): Promise<void>;
}

/** Roots, and what one repository may serve of them. */
export interface Roots {
  /** The pointer of the reference and the root that is published under it: two round trips. */
  find(reference: Reference, options: ReadOptions): Promise<Found>;
  /** A root by its digest, whether or not a pointer names it. Consistent. */
  findRoot(repository: Repository, digest: Digest, signal: AbortSignal): Promise<FoundRoot>;
}

/** What each manifest needs, and which are complete (I2). */
export interface Completeness {
  /** How often content was lost, for this root. Read it before the rows of its content. Consistent. */
  readEpoch(root: Digest, signal: AbortSignal): Promise<number>;
  /**
   * Those of the root's manifests and indexes that are complete by the rows of all their content. Two reads,
   * and one for each hundred blobs. Consistent.
   *
   * @param options.bare the manifests that need no other content.
   * @param options.remember also stores the result with its epoch: tried once, a failure is ignored.
   */
  findWhole(
    root: Digest,
    manifests: readonly Digest[],
    options: { remember: boolean; bare?: ReadonlyMap<Digest, unknown>; signal: AbortSignal },
  ): Promise<ReadonlySet<Digest>>;
  /**
   * What each manifest needs: its configs and layers. Write it before the manifest itself is recorded.
   * Idempotent, in batches.
   */
  writeContents(contents: ReadonlyMap<Digest, readonly Digest[]>, signal: AbortSignal): Promise<void>;
  /** What {@link writeContents} wrote; manifests without such a row are left out. Consistent. */
  findNeeds(manifests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, readonly Digest[]>>;
}

/** What a repository may serve (I9), and what needs it. */
export interface Links {
  /** Which of the digests this repository may serve. Consistent. */
  findLinks(
    repository: Repository,
    digests: readonly Digest[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<Digest, Link>>;
  /** Whether this repository may serve the digest, and whether the store holds it: one read. */
  findContent(
    repository: Repository,
    digest: Digest,
    options: ReadOptions,
  ): Promise<{ readonly link?: Link; readonly blob?: BlobRow }>;
  /** The same for many digests. Consistent. */
  findContents(
    repository: Repository,
    digests: readonly Digest[],
    signal: AbortSignal,
  ): Promise<{ readonly links: ReadonlyMap<Digest, Link>; readonly blobs: ReadonlyMap<Digest, BlobRow> }>;
  /** At most two manifests or indexes of the repository that need the digest: one read. Consistent. */
  findNeededBy(repository: Repository, digest: Digest, signal: AbortSignal): Promise<readonly Digest[]>;
}

/** Lets a repository serve content. Nothing takes a link back. */
export interface LinkWrites {
  /** Idempotent, in batches. */
  writeLinks(repository: Repository, links: readonly Link[], signal: AbortSignal): Promise<void>;
  /** Links one manifest or blob before a publish does. What a publish wrote in the row stays. */
  linkEarly(repository: Repository, link: Omit<Link, 'neededBy'>, signal: AbortSignal): Promise<void>;
  /** Records that `neededBy`, a manifest or index, needs the digests. Links nothing. Idempotent, in batches. */
  writeNeeds(repository: Repository, digests: readonly Digest[], neededBy: Digest, signal: AbortSignal): Promise<void>;
}

/** What the store holds, by the rows. */
export interface Blobs {
  /** The rows of the digests that have one. Consistent. */
  findBlobs(digests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, BlobRow>>;
}

/** Records what the store holds. Each write holds only if the row is as it was before the store was asked. */
export interface BlobWrites {
  /** The row of the blob as its claim found it. Reads nothing. */
  blobOf(claim: Lease): BlobRow;
  /**
   * Records that the store holds the content: it was asked after `commit` was read. For manifests, which need no claim,
   * and for content that was found in the store.
   *
   * @returns false if the row was written meanwhile: read it, and ask the store again.
   */
  recordBlob(record: BlobRecord, signal: AbortSignal): Promise<boolean>;
  /**
   * The same for a blob whose claim is ours; frees the claim in the same write. Returns the row if it was
   * written meanwhile, and changes nothing: ask the store again.
   *
   * @throws LeaseLostError if the claim is no longer ours.
   */
  commitBlob(claim: Lease, record: BlobRecord, signal: AbortSignal): Promise<BlobRow | undefined>;
  /** Keeps how far an ingest got. @throws LeaseLostError */
  saveCheckpoint(claim: Fence, digest: Digest, checkpoint: Checkpoint, signal: AbortSignal): Promise<void>;
  /**
   * Records that the store does not hold the content of these rows: it was asked after they were read. Rows
   * that said present say absent from now on, and every root gets a new epoch, in transactions of up to 84
   * rows (100 items, less 16 epochs). The
   * other rows get a new commit, so that a copier with an older answer asks again.
   *
   * @returns the digests of rows that were written meanwhile, and not changed: read them, and ask the store
   * again.
   */
  recordLoss(rows: readonly BlobRow[], signal: AbortSignal): Promise<readonly Digest[]>;
}

/** Lists of what is cached. */
export interface Images {
  /** The repositories that have, or had, content, in the order of their names; those after `after`. */
  repositories(after: Repository | undefined, signal: AbortSignal): AsyncIterable<Repository>;
  /**
   * What is published in one repository, in the order of the pointers (digests, as `@…`, among the tags);
   * those after `after`.
   */
  imagesOf(repository: Repository, after: string | undefined, signal: AbortSignal): AsyncIterable<CachedReference>;
}

/** Which table this is among all that have used its bucket. */
export interface TableIdentity {
  /**
   * The incarnation of the table: read once in the life of the process, unless `fresh`. Undefined for a table
   * that has none yet.
   */
  readIncarnation(options: { fresh: boolean; signal: AbortSignal }): Promise<number | undefined>;
  /** Sets the incarnation, unless the table has a higher one. Returns the one that it has now. */
  writeIncarnation(number: number, signal: AbortSignal): Promise<number>;
  /** Removes every row that another version of Entrepot wrote, and that this one refuses. Returns how many there were. */
  removeOtherVersions(signal: AbortSignal): Promise<number>;
}

/** What serving reads. It writes only through `Fetcher` (lib/serve/fetcher.ts). */
export interface CatalogReads extends Pointers, Roots, Links, Blobs, Images {}

/** All of it, as lib/services.ts opens it. */
export interface Catalog extends CatalogReads, PointerWrites, Completeness, LinkWrites, BlobWrites, TableIdentity {}
