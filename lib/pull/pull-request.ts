import type { Catalog } from '../catalog/ports.ts';
import { CacheError, DeadlineError } from '../errors/cache-error.ts';
import type { Leases } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Platform } from '../oci/platform.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { Upstreams } from '../registry/upstream.ts';
import type { ContentStore, RefRecords } from '../store/content-store.ts';

export interface PullRequest {
  readonly reference: Reference;
  /** None means the registry's configured list for an index, and all where none is configured. */
  readonly platforms: readonly Platform[];
  /** Ask the upstream what the name means, even where the cache knows an answer. */
  readonly alwaysPull: boolean;
  /**
   * What the catalogue knows the name to mean since then (epoch milliseconds) is good enough: the registry was asked under the lock a moment ago. But what was
   * published before is not: serving asks so for the image behind a tag that moved.
   */
  readonly resolvedSinceMs?: number;
  /**
   * The digest is that of a blob, which is wanted by itself: no manifest that names it is known. Nothing is resolved and no pointer moves; the repository may serve the
   * blob in the end. Serving asks so. `size` is what the registry said it has, in bytes; without it the pull asks.
   */
  readonly blob?: { readonly size?: number };
  /** Whether attestations go along with the manifests that they describe. */
  readonly attestations: boolean;
}

/** What bounds one pull. */
export interface PullLimits {
  readonly manifestBytes: number;
  /** Indexes below indexes. */
  readonly depth: number;
  /** Descriptors in one manifest, and manifests in one tree. */
  readonly fanOut: number;
  /** Bytes of all blobs of the requested platforms. */
  readonly totalBytes: number;
  /** Blobs copied at the same time by one pull. */
  readonly parallelBlobs: number;
}

/** Told while blobs move, for progress bars. Never throws, never waits. */
export interface PullProgress {
  /** The pull knows what it wants: of `blobs`, `missing` will be copied. */
  planned?(blobs: readonly Descriptor[], missing: readonly Descriptor[]): void;
  /** `bytes` more of the blob were read. */
  copied?(blob: Descriptor, bytes: number): void;
  /** The blob is in the cache; `by` says who put it there. */
  finished?(blob: Descriptor, by: 'us' | 'another pull'): void;
}

export interface PullDeps {
  readonly catalog: Catalog;
  readonly leases: Leases;
  readonly store: ContentStore;
  readonly refs: RefRecords;
  readonly upstreams: Upstreams;
  readonly limits: PullLimits;
  /** The configured platforms of a registry, by its canonical name. */
  readonly defaultPlatforms: (registry: string) => readonly Platform[];
  /** @throws UnknownNameError if the registry is not configured, or the repository not in its `allow`. */
  readonly requireAllowed: (repository: Repository) => void;
  readonly progress?: PullProgress;
}

/** Time is over; an error that no later try can mend is told all the same. */
export const isStopped = (deadline: AbortSignal, error: unknown): boolean =>
  deadline.aborted && deadline.reason instanceof DeadlineError && !(error instanceof CacheError && !error.retryable);
