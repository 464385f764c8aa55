import * as z from 'zod/mini';
import { count, digest, flag, array, record, string } from '../oci/schemas.ts';

/** Counts distinct configs and layers, those of attestations included; not manifests. */
const movedFields = {
  /** In the cache already. */
  present: count,
  /** Fetched by this pull (or read again as proof, I9). */
  copied: count,
  /** Fetched by another pull while this one waited. */
  copiedElsewhere: count,
};

/** The part of a tally that adds up over tasks. */
export const moved = record(movedFields);
export type Moved = z.output<typeof moved>;

const tally = record({ ...movedFields, total: count });
export type BlobTally = z.output<typeof tally>;

/** Requests to a registry. */
export const requests = record({
  total: count,
  ping: count,
  token: count,
  manifest: count,
  blob: count,
  redirected: count,
});

const receiptPlatform = record({
  /** `linux/amd64`; `unknown` for content without a platform. */
  platform: string,
  digest,
  complete: flag,
});
export type ReceiptPlatform = z.output<typeof receiptPlatform>;

/**
 * Content of the image that its registry does not have: foreign layers, attestations and, in a request with
 * platforms, manifests without one. The image is complete without it.
 */
const skipped = record({ digest, mediaType: string, size: count, reason: string });
export type SkippedContent = z.output<typeof skipped>;

/** What a pull did. JSON of this shape is the public answer of the API and of `entrepot pull --json`. */
export const receipt = record({
  /** Normalised. */
  reference: string,
  /** What the reference means now; null if the pull stopped before it was resolved. */
  digest: z.nullable(digest),
  mediaType: z.nullable(string),
  /**
   * `hit`: nothing copied, no pointer moved. `pulled`: something copied or a pointer moved. `partial`:
   * stopped by the deadline; what finished is kept.
   */
  outcome: z.enum(['hit', 'pulled', 'partial'], 'an outcome'),
  platforms: array(receiptPlatform),
  blobs: tally,
  /** Bytes, tallied like `blobs`. */
  bytes: tally,
  registryRequests: requests,
  skipped: array(skipped),
  durationMs: count,
  /**
   * Why the record of the publication could not be written to the bucket (`refs/`), if so. The image is
   * served all the same, but a rebuild of the table does not find it until the next pull that takes the lock
   * writes the record.
   */
  recordError: z.exactOptional(string),
});
export type Receipt = z.output<typeof receipt>;

export const NOTHING_MOVED: Moved = { present: 0, copied: 0, copiedElsewhere: 0 };
export const NO_REQUESTS: z.output<typeof requests> = {
  total: 0,
  ping: 0,
  token: 0,
  manifest: 0,
  blob: 0,
  redirected: 0,
};
