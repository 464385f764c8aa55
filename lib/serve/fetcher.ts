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
  /** Where it landed in this process. */
  readonly bytes?: Uint8Array;
}

/** What a tag means, as far as its policy wants to know it. */
export interface TagResolution {
  readonly digest: Digest;
  /** Since when the catalogue knows it so. */
  readonly checkedMs: number;
}

/** What a registry says that refers to a manifest. */
export interface StoredReferrers {
  /** When it was asked, epoch milliseconds. */
  readonly checkedMs: number;
  /** An image index of them; absent where there is none. */
  readonly list?: StoredManifest;
}

/** The name of the pointer to the list of what refers to a manifest: no tag is called so. */
export const referrersReference = (repository: Repository, subject: Digest): Reference => ({
  repository,
  tag: `referrers:${subject}`,
});

/**
 * What serving asks of registries, and stores of their answers; and every write to the catalogue that serving needs. In this process ({@link upstreamFetcher}),
 * or in a function that holds the credentials and may write bucket and catalogue (`lambdaFetcher`): the one that the internet reaches may write only locks,
 * pulls and who waits.
 *
 * Everything here is idempotent, and throws what the registry's answer means: ManifestUnknownError on 404 and only then, DeniedError, RateLimitedError,
 * UpstreamUnavailableError.
 */
export interface Fetcher {
  /**
   * What the tag means at its registry now, recorded under `lock`, which stays the caller's. `landed` is its manifest, unless the repository had it whole before.
   * That the registry knows no such tag is recorded, too, before it is thrown.
   *
   * @param resolutions those of the tag's pointer, as the caller knows them under the lock: the question may arrive twice, and the older answer is not recorded.
   * @throws LeaseLostError
   */
  resolve(
    call: ServeCall,
    reference: Reference,
    lock: Fence,
    resolutions: number | undefined,
  ): Promise<TagResolution & { readonly landed?: StoredManifest }>;
  /** Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9). */
  fetchManifest(call: ServeCall, repository: Repository, digest: Digest): Promise<StoredManifest>;
  /**
   * Asks what refers to the manifest, stores the list, and records it under {@link referrersReference}. Without `lock` its lock is taken for the record alone, and
   * where nothing refers to the manifest, nothing is written.
   *
   * @param resolutions those of that pointer, as the caller read them before this call: an older answer is not recorded.
   * @throws LeaseLostError, also where another list was recorded meanwhile.
   */
  fetchReferrers(
    call: ServeCall,
    repository: Repository,
    subject: Digest,
    resolutions: number | undefined,
    lock: Fence | undefined,
  ): Promise<StoredReferrers>;
  /** Every tag of the repository by its registry's own word. Lands nothing. @throws CacheError (NAME_UNKNOWN) on 404 and only then. */
  listTags(call: ServeCall, repository: Repository): Promise<readonly string[]>;
  /** Whether the repository confirms that it holds a blob which is in the store; if it does, it may serve it from now on (I9). */
  confirm(call: ServeCall, repository: Repository, digest: Digest): Promise<boolean>;
  /**
   * The size in bytes of a blob of which nothing but its digest is known, as the repository says it: a claim, which proves nothing (I9), within the limits of a pull. Lands
   * nothing.
   *
   * @throws BlobUnknownError on 404 and only then; BlobSizeError if it is larger than a pull may be, or its size cannot be had.
   */
  sizeOfBlob(call: ServeCall, repository: Repository, digest: Digest): Promise<number>;
  /**
   * Where the registry redirects for a blob of the repository, if clients may be sent there themselves (`passRedirects`); undefined where they may not, or
   * where it answers with the bytes. Lands nothing. It is for whoever may read the blob, and is good for as long as the registry signed it.
   */
  findRedirect(call: ServeCall, repository: Repository, digest: Digest): Promise<URL | undefined>;
  /** Asks the store for content that seems to be gone. Where it is, the catalogue says so from now on, and the reason comes back. */
  markLost(call: Pick<ServeCall, 'signal'>, digest: Digest): Promise<string | undefined>;
}

/**
 * Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9); once, however many processes ask: they
 * wait for the one that asks, and find what it landed.
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
      // A lease of its own: whoever pulls the digest holds its lock for as long as all of its content takes.
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
