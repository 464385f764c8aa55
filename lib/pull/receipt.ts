import type { Digest } from '../oci/digest.ts';
import type { RequestCounts } from '../registry/upstream.ts';

/** Counted over distinct configs and layers, attestations' included; manifests are not blobs here. */
export interface BlobTally {
  total: number;
  /** In the cache already. */
  present: number;
  /** Fetched by this pull (or read again as proof, I9). */
  copied: number;
  /** Fetched by another pull while this one waited. */
  copiedElsewhere: number;
}

export interface ReceiptPlatform {
  /** `linux/amd64`; `unknown` for content without a platform. */
  readonly platform: string;
  readonly digest: Digest;
  readonly complete: boolean;
}

/** Content that belongs to the image and was left out on purpose. */
export interface SkippedContent {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly reason: string;
}

/** What a pull did. JSON of this shape is the public answer of the API and of `entrepot pull --json`. */
export interface Receipt {
  /** Normalised. */
  readonly reference: string;
  /** What the reference means now; null where a pull stopped before it knew. */
  readonly digest: Digest | null;
  readonly mediaType: string | null;
  /** `hit`: nothing copied, no pointer moved. `pulled`: something copied or a pointer moved. `partial`: stopped by the deadline; what finished is kept. */
  readonly outcome: 'hit' | 'pulled' | 'partial';
  readonly platforms: readonly ReceiptPlatform[];
  readonly blobs: Readonly<BlobTally>;
  /** Bytes, tallied like `blobs`. */
  readonly bytes: Readonly<BlobTally>;
  readonly registryRequests: Readonly<RequestCounts>;
  readonly skipped: readonly SkippedContent[];
  readonly durationMs: number;
  /**
   * Only where what is published could not be written down in the bucket (`refs/`): why. It is served all the same, but a rebuild of the table would not find it until the
   * next pull that takes the lock has written it.
   */
  readonly recordError?: string;
}
