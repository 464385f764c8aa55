import type { Fence } from '../lock/fence.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { ServeCall } from './serve-deps.ts';

/** A manifest or index that is in the store now, and that its repository may serve; its content need not be. */
export interface Landed {
  readonly descriptor: Descriptor;
  /** Where it landed in this process. */
  readonly bytes?: Uint8Array;
}

/** What a tag means, as far as its policy wants to know it. */
export interface Meaning {
  readonly digest: Digest;
  /** Since when the catalogue knows it so. */
  readonly checkedMs: number;
}

/** What a registry says that refers to a manifest. */
export interface LandedReferrers {
  /** When it was asked, epoch milliseconds. */
  readonly checkedMs: number;
  /** An image index of them; absent where there is none. */
  readonly list?: Landed;
}

/**
 * What serving asks of registries, and lands of their answers. In this process ({@link upstreamLanding}), or in a function that holds the credentials and may
 * write the bucket (`lambdaLanding`): the one that the internet reaches holds and may neither.
 *
 * Everything here is idempotent, and throws what the registry's answer means: ManifestUnknownError on 404 and only then, DeniedError, RateLimitedError,
 * UpstreamUnavailableError.
 */
export interface Landing {
  /**
   * What the tag means at its registry now, recorded under `lock`, which stays the caller's. `landed` is its manifest, unless the repository had it whole before.
   *
   * @param resolutions those of the tag's pointer, as the caller knows them under the lock: the question may arrive twice, and the older answer is not recorded.
   * @throws LeaseLostError
   */
  resolve(
    call: ServeCall,
    reference: Reference,
    lock: Fence,
    resolutions: number | undefined,
  ): Promise<Meaning & { readonly landed?: Landed }>;
  /** Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9). */
  land(call: ServeCall, repository: Repository, digest: Digest): Promise<Landed>;
  /** Asks what refers to the manifest, and lands the list: nothing leads to it yet. Where nothing refers to the manifest, nothing is written. */
  landReferrers(call: ServeCall, repository: Repository, subject: Digest): Promise<LandedReferrers>;
  /** Every tag of the repository by its registry's own word. Lands nothing. @throws CacheError (NAME_UNKNOWN) on 404 and only then. */
  listTags(call: ServeCall, repository: Repository): Promise<readonly string[]>;
  /** Whether the repository confirms that it holds a blob which is in the store; if it does, it may serve it from now on (I9). */
  confirm(call: ServeCall, repository: Repository, digest: Digest): Promise<boolean>;
  /**
   * Where the registry redirects for a blob of the repository, if clients may be sent there themselves (`passRedirects`); undefined where they may not, or
   * where it answers with the bytes. Lands nothing. It is for whoever may read the blob, and is good for as long as the registry signed it.
   */
  locate(call: ServeCall, repository: Repository, digest: Digest): Promise<URL | undefined>;
}
