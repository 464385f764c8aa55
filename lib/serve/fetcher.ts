import { sleep } from '../async/time.ts';
import type { Fence } from '../lock/fence.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isManifestLink } from '../pull/other-entries.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import { fetchLeaseName } from '../table/keys.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** A manifest or index that is in the store now, and that its repository may serve; its content need not be. */
export interface StoredManifest {
  readonly descriptor: Descriptor;
  /** Present where this process fetched it. */
  readonly bytes?: Uint8Array;
}

/** The digest of a tag. */
export interface TagResolution {
  readonly digest: Digest;
  /** When the registry was last asked, epoch milliseconds. */
  readonly checkedMs: number;
}

/** What refers to a manifest, by its registry. */
export interface StoredReferrers {
  /** When the registry was asked, epoch milliseconds. */
  readonly checkedMs: number;
  /** An image index of the referrers; absent where there are none. */
  readonly list?: StoredManifest;
}

/** The name of the pointer to the list of what refers to a manifest. It is not a valid tag. */
export const referrersReference = (repository: Repository, subject: Digest): Reference => ({
  repository,
  tag: `referrers:${subject}`,
});

/**
 * Asks registries for serving, stores their answers, and does every write to the catalogue that serving needs. Runs in this process (`upstreamFetcher`), or in
 * a function that holds the credentials (`lambdaFetcher`): the function that the internet reaches may write only locks, pulls and the waiting room.
 *
 * Every method is idempotent, and throws what the registry's answer means: ManifestUnknownError on 404 and only then, DeniedError, RateLimitedError,
 * UpstreamUnavailableError.
 */
export interface Fetcher {
  /**
   * Resolves the tag at its registry, and records the answer under `lock`, which stays the caller's. `landed` is its manifest, unless the repository had the
   * whole image before. A tag that the registry does not have is recorded, too, before ManifestUnknownError is thrown.
   *
   * @param resolutions of the tag's pointer, as the caller read it under the lock: a question may arrive twice, and the older answer is not recorded.
   * @throws LeaseLostError
   */
  resolve(
    call: ServeCall,
    reference: Reference,
    lock: Fence,
    resolutions: number | undefined,
  ): Promise<TagResolution & { readonly landed?: StoredManifest }>;
  /** Fetches the manifest by digest from the registry of the repository, which proves that the repository has it (I9). */
  fetchManifest(call: ServeCall, repository: Repository, digest: Digest): Promise<StoredManifest>;
  /**
   * Asks what refers to the manifest, stores the list, and records it under {@link referrersReference}. Without `lock` it takes that lock only to record the
   * list; where nothing refers to the manifest, nothing is written.
   *
   * @param resolutions of that pointer, as the caller read it before this call: an older answer is not recorded.
   * @throws LeaseLostError, also where another list was recorded meanwhile.
   */
  fetchReferrers(
    call: ServeCall,
    repository: Repository,
    subject: Digest,
    resolutions: number | undefined,
    lock: Fence | undefined,
  ): Promise<StoredReferrers>;
  /** Every tag of the repository, by its registry. Stores nothing. @throws CacheError (NAME_UNKNOWN) on 404 and only then. */
  listTags(call: ServeCall, repository: Repository): Promise<readonly string[]>;
  /** Whether the repository has a blob that is in the store, by its registry; if so, it may serve it from now on (I9). */
  confirm(call: ServeCall, repository: Repository, digest: Digest): Promise<boolean>;
  /**
   * The size in bytes of a blob of which only the digest is known, as its registry declares it: a claim, not a proof (I9). Stores nothing.
   *
   * @throws BlobUnknownError on 404 and only then; BlobSizeError if it exceeds the limit of a pull, or the registry declares no size.
   */
  sizeOfBlob(call: ServeCall, repository: Repository, digest: Digest): Promise<number>;
  /**
   * Where the registry redirects for a blob of the repository, if clients may follow (`passRedirects`); undefined where they may not, or where the registry
   * answers with the bytes. Stores nothing. The URL is for clients that may read the blob, and expires when the registry's signature does.
   */
  findRedirect(call: ServeCall, repository: Repository, digest: Digest): Promise<URL | undefined>;
  /** Asks the store for content that seems lost. If it is, marks it lost in the catalogue, and returns the reason. */
  markLost(call: Pick<ServeCall, 'signal'>, digest: Digest): Promise<string | undefined>;
}

/**
 * Fetches the manifest by digest from the registry of the repository, which proves that the repository has it (I9). Once, however many processes need it: the
 * others wait, and find what the first one stored.
 *
 * @throws ManifestUnknownError if the repository has none.
 */
export function fetchByDigest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<StoredManifest> {
  return state.share(`fetch ${contentKey(repository, digest)}`, call.signal, async (signal) => {
    const watch = leaseWatch();
    for (;;) {
      state.requireClosed({ repository, kind: 'manifests', name: digest });
      // A lease of its own: a pull of the digest holds its lock until all of the content is stored.
      const outcome = await state.deps.leases.tryAcquire(fetchLeaseName(repository, digest), watch, signal);
      await using lock = isLease(outcome) ? outcome : undefined;
      const there = await findStored(state, repository, digest, signal);
      if (there !== undefined) return there;
      if (lock !== undefined) return await fetchUnder(state, { ...call, signal }, repository, digest, lock.signal);
      await sleep(watch.nextDelayMs(), signal);
    }
  });
}

async function fetchUnder(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  held: AbortSignal,
): Promise<StoredManifest> {
  const signal = AbortSignal.any([call.signal, held]);
  const landed = await state.ask({ repository, kind: 'manifests', name: digest }, (fetcher) =>
    fetcher.fetchManifest({ ...call, signal }, repository, digest),
  );
  state.remember(landed);
  return landed;
}

async function findStored(
  { deps: { catalog } }: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<StoredManifest | undefined> {
  const { link, blob } = await catalog.findContent(repository, digest, { consistent: true, signal });
  const isThere = blob?.state === 'present' && link !== undefined && isManifestLink(link);
  return isThere ? { descriptor: link } : undefined;
}
