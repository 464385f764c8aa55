import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { ReferrersIndex } from '../oci/referrers.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { BlobReading } from './settings.ts';

/** Requests sent, retries included. The receipt shows them as `registryRequests`. */
export interface RequestCounts {
  /** All requests. */
  total: number;
  /** `/v2/` */
  ping: number;
  /** Token realms. */
  token: number;
  manifest: number;
  blob: number;
  /** Requests to redirect targets. They do not count for the kind of the first request. */
  redirected: number;
}

/** Refusals that an operator should see, retries included. */
export interface RefusalCounts {
  /** Answers of 429 from the registry, token realm or storage. */
  rateLimited: number;
  /** Requests with credentials that were finally refused (401, 403). */
  credentialsRefused: number;
}

/** The result of resolving a reference at the upstream. */
export interface Resolution {
  readonly digest: Digest;
  /** When the request was started, by our clock. The result is at least this recent. */
  readonly checkedMs: number;
  /** The verified manifest, if it had to be fetched (HEAD refused or without digest). */
  readonly manifest?: FetchedManifest;
}

/** A manifest or index as received. `descriptor.digest` and `.size` match `bytes`; `.mediaType` is claimed by the upstream. */
export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** The bytes of a blob as they arrive. Consume it, or call `return` of its iterator. */
export interface BlobBytes extends AsyncIterable<Uint8Array> {
  /** For messages: the sender of the bytes, and whether they look like an HTML page. Undefined if nothing was read, or reading failed. */
  readonly sender?: () => string | undefined;
}

/** One repository of one registry, for one pull. */
export interface Upstream {
  readonly repository: Repository;
  /** What content fetched here proves (I9). Fixed: if the credentials change to another identity, requests fail with a retryable error. */
  readonly domain: TrustDomain;
  readonly requests: Readonly<RequestCounts>;
  readonly refusals: Readonly<RefusalCounts>;

  /**
   * Resolves the reference: by HEAD, which costs no pull at Docker Hub, or by GET if HEAD does not help. A digest resolves to itself
   * without a request.
   *
   * @param byBytes Use GET at once, because the digest of HEAD could not be fetched.
   * @throws ManifestUnknownError if a GET answers 404, and only then; DeniedError, RateLimitedError, UpstreamUnavailableError.
   */
  resolve(reference: Reference, signal: AbortSignal, byBytes?: boolean): Promise<Resolution>;

  /**
   * Every tag of the repository, without duplicates. Only from the registry itself: a mirror may know only some. Bounded in pages,
   * bytes and number.
   *
   * @throws CacheError (NAME_UNKNOWN) on 404 and only then; UpstreamRefusedError if it is too long or not a list; otherwise as
   * {@link resolve}.
   */
  listTags(signal: AbortSignal): Promise<readonly string[]>;

  /**
   * All referrers of a manifest; empty if there are none. Unverified, because the digest of the list is not known. Only from the
   * registry itself: a mirror may know only some. Bounded in pages, number, and bytes (`limits.manifestBytes`).
   *
   * @throws InvalidManifestError if it is not a list; UpstreamRefusedError if it is too long or incomplete; otherwise as
   * {@link resolve}.
   */
  listReferrers(subject: Digest, signal: AbortSignal): Promise<ReferrersIndex>;

  /**
   * The manifest or index by digest, verified by the hash of the body and not by a header. Bounded by `limits.manifestBytes`.
   *
   * @throws ManifestUnknownError on 404 and only then; ContentMismatchError; InvalidManifestError if it is too large.
   */
  readManifest(digest: Digest, signal: AbortSignal): Promise<FetchedManifest>;

  /**
   * Whether this repository confirms that it holds the blob (HEAD, 200). Any other answer, a redirect or an error confirms nothing
   * (I9): only fetching can decide then.
   */
  hasBlob(blob: Descriptor, signal: AbortSignal): Promise<boolean>;

  /**
   * The size in bytes of a blob of which only the digest is known: by HEAD, or the headers of a GET if HEAD gives no length.
   * A claim of the upstream, not a proof (I9).
   *
   * @throws BlobUnknownError if a GET answers 404, and only then; BlobSizeError if the size cannot be determined; otherwise as
   * {@link resolve}.
   */
  sizeOfBlob(digest: Digest, signal: AbortSignal): Promise<number>;

  /**
   * The bytes of the blob from `offset` on. After a dropped connection it reconnects at the byte where it broke.
   *
   * Gives up after several reconnects in a row without a byte, and if the blob is too slow. Never yields more than
   * `blob.size - offset` bytes, but does not verify the digest: see `verify`. Consume it, or call `return` of its iterator.
   *
   * @throws BlobUnknownError if the upstream answers 404, and only then; SlowBlobError.
   */
  openBlob(blob: Descriptor, offset: number, signal: AbortSignal, reading?: BlobReading): Promise<BlobBytes>;

  /**
   * The URL to which the registry redirects for the blob, if clients may follow it: https, a public host in `passRedirects`, none
   * of our credentials. One GET to the registry itself. Undefined if it sends the bytes, or `passRedirects` is empty.
   *
   * @throws UpstreamRefusedError if clients must not be redirected there; BlobUnknownError on 404 and only then; otherwise as
   * {@link resolve}, after one try.
   */
  findRedirect(digest: Digest, signal: AbortSignal): Promise<URL | undefined>;
}

/** The configured registries: the closed world of I8. */
export interface Upstreams {
  /**
   * The repository at its registry, with its own counts. Sends no request to the registry, but may read credentials.
   *
   * @throws UnknownNameError if the registry is not configured or does not allow the repository; ConfigError or
   * UpstreamUnavailableError if its credentials cannot be read.
   */
  open(repository: Repository, signal?: AbortSignal): Promise<Upstream>;
  /** Closes all connections. */
  close(): Promise<void>;
}
