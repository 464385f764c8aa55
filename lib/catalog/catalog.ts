import type { HeldLease } from '../lock/lease.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Checkpoint, StoredContent } from '../store/content-store.ts';

/**
 * TAG: what a tag (or `@digest`) of a repository means. `resolved` is the upstream's last answer, `published`
 * what the cache holds.
 */
export interface Pointer {
  readonly resolved?: Digest;
  /** When that resolution began, epoch milliseconds. */
  readonly checkedMs?: number;
  /** Grows with each recorded resolution. An answer to a request from before the last of them is refused. */
  readonly resolutions?: number;
  /** The holder of the lock under which the upstream was asked. */
  readonly resolvedBy?: string;
  readonly published?: Digest;
  readonly publishedMs?: number;
  /** The holder of the lock under which it was published. If it still holds the lock, it is about to release it. */
  readonly publishedBy?: string;
  /** What was published before; it can still be served. */
  readonly previous?: Digest;
  /** When the upstream answered that there is no such name, epoch milliseconds. A later resolution removes it. */
  readonly missingMs?: number;
  /**
   * When the name was removed, epoch milliseconds. Then nothing is resolved or published; the rest is kept
   * for longer than any writer lives.
   */
  readonly removedMs?: number;
  /** The incarnation of the table at the last publish; absent if the bucket could not be asked. */
  readonly incarnation?: number;
  /** Grows with each publish; a removal does not reset it. */
  readonly generation: number;
  /** The generation whose record is known to be in the bucket. */
  readonly recorded?: number;
}

/** ROOT: a manifest or index that something points to, with what is known of its tree. */
export interface Root extends Descriptor {
  /** Every manifest and nested index below an index; for a single manifest, itself. Follows from the root's bytes alone. */
  readonly entries: readonly IndexEntry[];
  /**
   * Those of `entries`, and the root itself, that are remembered as complete (I2): all their content was
   * present at `epoch`, and no content was lost since. Others may be complete by their rows: see findWhole.
   */
  readonly complete: ReadonlySet<Digest>;
  /**
   * Configs and layers of each complete entry, so that a hit can count them without reading manifests. An
   * entry that is a blob lists itself.
   */
  readonly contents: { get(entry: Digest): readonly ContentTally[] | undefined };
  /** Layers that a registry need not hold. Those that the registry had are linked, and complete or not, like entries. */
  readonly foreign: readonly ForeignLayer[];
}

/** A layer of an entry that registries need not hold. */
export interface ForeignLayer extends Descriptor {
  readonly entry: Digest;
}

/** One config or layer. `id` is a prefix of its digest, unique within the root. */
export interface ContentTally {
  readonly id: string;
  /** Bytes. */
  readonly size: number;
}

/** A root, and what one repository may serve of it. */
export interface FoundRoot {
  readonly root?: Root;
  /** The root's entries that this repository may serve (I9). Absent if the repository has no link to the root. */
  readonly linked?: ReadonlySet<Digest>;
  /** Attestations and foreign layers of the root that the registry did not have at the last try. */
  readonly skipped?: ReadonlySet<Digest>;
  /** How often content was lost, for this root. Rows that are read later are newer. */
  readonly epoch: number;
  /** The epoch of what is remembered as complete, current or not. */
  readonly stamp?: number;
}

/** A reference in the catalogue: its pointer, and the root that is published. */
export interface Found extends Partial<FoundRoot> {
  readonly pointer?: Pointer;
}

/** LINK: this repository may serve this digest. */
export interface Link extends Descriptor {
  /** Of a manifest: it was published with its content. Stays when content is lost later. */
  readonly landed?: boolean;
  /** Of an index that was linked before its content was stored: the tag that led to it. */
  readonly via?: string;
  /** The last manifest or index of the repository that was stored and needs it; absent for roots. */
  readonly neededBy?: Digest;
}

/** BLOB: one digest, for all repositories. */
export interface BlobRow {
  readonly digest: Digest;
  readonly state: 'absent' | 'present';
  /**
   * A random id, new with each write of what the store holds. A writer reads it before it asks the store, and
   * writes only if it is unchanged: so an older answer of the store never replaces a newer one. Undefined
   * until the first such write.
   */
  readonly commit?: string;
  /** The pull that copies it now, if there is one. */
  readonly claim?: HeldLease;
  /** Bytes; known once present. */
  readonly size?: number;
  readonly etag?: string;
  readonly crc32?: string;
  readonly domains: ReadonlySet<TrustDomain>;
  /** Of the ingest that is under way, or of one that died. */
  readonly checkpoint?: Checkpoint;
}

/** What the store holds, to be recorded in a row. */
export interface BlobRecord {
  readonly content: Descriptor;
  readonly stored: StoredContent;
  /** Domains that proved to have it; they are added to those in the row. */
  readonly domains: readonly TrustDomain[];
  /** {@link BlobRow.commit}, read before the store was asked. */
  readonly commit: string | undefined;
}

/** An answer of the upstream. */
export interface ResolutionRecord {
  readonly resolved: Digest;
  readonly checkedMs: number;
  /** The reference's pointer, read under the lock before the upstream was asked. */
  readonly pointer: Pointer | undefined;
}

/** Everything that becomes visible at once. */
export interface Publication {
  readonly reference: Reference;
  readonly root: Omit<Root, 'complete' | 'contents' | 'foreign'>;
  /** Entries that this pull found complete, with the root itself. */
  readonly complete: readonly Digest[];
  /** Configs and layers of the entries that this pull read. */
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
  readonly foreign: readonly ForeignLayer[];
  /** Attestations and foreign layers that the registry does not have. */
  readonly skipped?: readonly Digest[];
  /** The reference's pointer, read under the lock, with the resolution that is published. */
  readonly pointer: Pointer | undefined;
  /** When the upstream was asked to resolve the reference. */
  readonly checkedMs: number;
  readonly publishedMs: number;
  /** The epoch of the root, read before any row of its content; `stamp` is the epoch of what was remembered then. */
  readonly epoch: number;
  /** The incarnation of the table; absent for a new table if the bucket could not be asked. */
  readonly incarnation?: number;
  /** In a rebuild, that of the record; otherwise absent, which means the next one. */
  readonly generation?: number;
  readonly stamp?: number | undefined;
  /** What was known of the root: rows that would not change are not written. */
  readonly known?: Pick<FoundRoot, 'root' | 'linked' | 'skipped'>;
}

/** A row of `entrepot images`. */
export interface CachedReference {
  readonly reference: Reference;
  readonly pointer: Pointer;
  readonly root?: Root;
  readonly linked?: ReadonlySet<Digest>;
}
