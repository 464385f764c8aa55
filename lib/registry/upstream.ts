import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { ReferrersIndex } from '../oci/referrers.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { BlobReading } from './settings.ts';

/** Requests sent, retries included. The receipt shows them as `registryRequests`. */
export interface RequestCounts {
  /** Every request, whatever it was for. */
  total: number;
  /** `/v2/` */
  ping: number;
  /** Token realms. */
  token: number;
  manifest: number;
  blob: number;
  /** Requests to a location that another answer redirected to (counted here and not under the kind that led there). */
  redirected: number;
}

/** Answers that somebody must look at, retries included. */
export interface RefusalCounts {
  /** 429, of registry, token realm or storage. */
  rateLimited: number;
  /** Questions with credentials that were refused in the end (401, 403). Never counted where there are no credentials. */
  credentialsRefused: number;
}

/** What a name means at the upstream now. */
export interface Resolution {
  readonly digest: Digest;
  /** When the asking began, by our clock: no older answer is in it. */
  readonly checkedMs: number;
  /** Only where the upstream could not say the digest without the bytes (HEAD refused or without digest): the verified manifest. */
  readonly manifest?: FetchedManifest;
}

/** A manifest or index as received, byte for byte; `descriptor.digest` and `.size` are those of `bytes`, `.mediaType` is what the upstream said. */
export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** The bytes of a blob as they come. To be consumed, or its iterator returned. */
export interface BlobBytes extends AsyncIterable<Uint8Array> {
  /** For messages: who sent what was read, and that it looks like a page. Undefined where nobody did, or the reading failed and its own error says so. */
  readonly sender?: () => string | undefined;
}

/** One repository of one registry, as one pull sees it. */
export interface Upstream {
  readonly repository: Repository;
  /** What fetching here proves (I9). Fixed: once the credentials are another identity's, every request fails with a retryable error. */
  readonly domain: TrustDomain;
  readonly requests: Readonly<RequestCounts>;
  readonly refusals: Readonly<RefusalCounts>;

  /**
   * What the reference means: by HEAD (costs no Docker Hub pull), whose answer is a hint, and by GET where HEAD is of no use. A digest resolves to itself without
   * a request.
   *
   * @param byBytes GET at once: what HEAD named could not be had.
   * @throws ManifestUnknownError where a GET is answered 404, and only then; DeniedError, RateLimitedError, UpstreamUnavailableError.
   */
  resolve(reference: Reference, signal: AbortSignal, byBytes?: boolean): Promise<Resolution>;

  /**
   * Every tag of the repository, each once, by the registry's own word (a mirror may know only what it was asked for). Bounded in pages, bytes and number.
   *
   * @throws CacheError (NAME_UNKNOWN) on 404 and only then; UpstreamRefusedError where the list is too long or none at all; as {@link resolve} else.
   */
  listTags(signal: AbortSignal): Promise<readonly string[]>;

  /**
   * What refers to a manifest of the repository, all pages of it; empty where nothing does. Unverified, because nobody named the list's digest. The endpoint
   * alone is asked: a mirror may know only what it was asked for. Bounded in pages, number, and bytes (`limits.manifestBytes`).
   *
   * @throws InvalidManifestError where it is no list; UpstreamRefusedError where it is too long or not whole; as {@link resolve} else.
   */
  listReferrers(subject: Digest, signal: AbortSignal): Promise<ReferrersIndex>;

  /**
   * The manifest or index by digest. The hash of the body decides, never a header; bounded by `limits.manifestBytes`.
   *
   * @throws ManifestUnknownError on 404 and only then; ContentMismatchError; InvalidManifestError if it is too large.
   */
  readManifest(digest: Digest, signal: AbortSignal): Promise<FetchedManifest>;

  /**
   * Whether this repository confirms that it holds the blob (HEAD, 200). Whatever else a HEAD says confirms nothing (I9), a redirect and an error neither: fetching tells.
   */
  hasBlob(blob: Descriptor, signal: AbortSignal): Promise<boolean>;

  /**
   * The size in bytes of a blob of which only the digest is known, as the upstream says it: by HEAD, and by the headers of a GET where HEAD says no length. A claim,
   * no proof (I9).
   *
   * @throws BlobUnknownError if a GET is answered 404, and only then; BlobSizeError if no length can be had; as {@link resolve} else.
   */
  sizeOfBlob(digest: Digest, signal: AbortSignal): Promise<number>;

  /**
   * The bytes of the blob from `offset` on; reopened after a dropped connection at the byte where it broke.
   *
   * Gives up after several reconnects in a row that brought nothing, and where it comes too slowly. Does not verify the digest: see `verify`;
   * but never gives more than `blob.size - offset` bytes before it throws. The iterable must be consumed or its iterator returned.
   *
   * @throws BlobUnknownError if the upstream answers 404, and only then; SlowBlobError.
   */
  openBlob(blob: Descriptor, offset: number, signal: AbortSignal, reading?: BlobReading): Promise<BlobBytes>;

  /**
   * Where the registry itself redirects for the blob, if clients may be sent there (`passRedirects`): https, a public host that is named, nothing of our
   * credentials. One GET that follows nothing; the endpoint alone is asked. Undefined where it answers with the bytes, or `passRedirects` is empty.
   *
   * @throws UpstreamRefusedError if clients must not be sent there; BlobUnknownError on 404 and only then; as {@link resolve}, after one try.
   */
  findRedirect(digest: Digest, signal: AbortSignal): Promise<URL | undefined>;
}

/** The configured registries: the closed world of I8. */
export interface Upstreams {
  /**
   * The repository at its registry, with counts of its own. Sends no request to the registry (credentials may be read).
   *
   * @throws UnknownNameError if the registry is not configured or the repository not allowed; ConfigError or UpstreamUnavailableError if its
   * credentials cannot be read.
   */
  open(repository: Repository, signal?: AbortSignal): Promise<Upstream>;
  /** Ends all connections. */
  close(): Promise<void>;
}
