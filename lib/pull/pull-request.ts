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
  /** If empty: for an index the registry's configured list, or all platforms without such a list. */
  readonly platforms: readonly Platform[];
  /** Ask the upstream what the name means, even if the cache knows an answer. */
  readonly alwaysPull: boolean;
  /**
   * A resolution that is this recent (epoch milliseconds) is good enough, but an older publication is not.
   * Serving uses it for the image behind a tag that moved: it has just asked the registry under the lock.
   */
  readonly resolvedSinceMs?: number;
  /**
   * The digest is that of a blob, and no manifest that names it is known. Nothing is resolved and no pointer
   * moves; in the end the repository may serve the blob. Serving uses it. `size` is in bytes, as the registry
   * stated it; without it the pull asks.
   */
  readonly blob?: { readonly size?: number };
  /** Whether to pull the attestations of the manifests, too. */
  readonly attestations: boolean;
}

/** Limits of one pull. */
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

/** Called while blobs move, for progress bars. Must not throw or wait. */
export interface PullProgress {
  /** The pull knows what it wants: of `blobs`, `missing` will be copied. */
  planned?(blobs: readonly Descriptor[], missing: readonly Descriptor[]): void;
  /** `bytes` more of the blob were read. */
  copied?(blob: Descriptor, bytes: number): void;
  /** The blob is in the cache; `by` names the pull that brought it. */
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

/** The deadline stopped the pull. An error that is not retryable is reported even then. */
export const isStopped = (deadline: AbortSignal, error: unknown): boolean =>
  deadline.aborted && deadline.reason instanceof DeadlineError && !(error instanceof CacheError && !error.retryable);
