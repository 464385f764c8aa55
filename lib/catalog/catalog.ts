import type { HeldLease } from '../lock/lease.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference } from '../reference/reference.ts';
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
   * since. One that is not in it may be complete by its rows all the same: see {@link Completeness.findWhole}.
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
