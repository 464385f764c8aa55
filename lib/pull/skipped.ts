import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { SkippedContent } from './receipt.ts';

/** A foreign layer that its registry does not hold. */
export const skippedLayer = ({ digest, mediaType, size }: Descriptor): SkippedContent => ({
  digest,
  mediaType,
  size,
  reason: 'foreign layer: its registry does not hold it, and urls are not followed',
});

/** An attestation that its registry does not have, though the index names it, or that the index names in a way that cannot be read. */
export const skippedAttestation = ({ digest, mediaType, size, attests, fault }: IndexEntry): SkippedContent => ({
  digest,
  mediaType,
  size,
  reason: `attestation of ${attests}: ${fault ?? 'its registry does not have it any more'}`,
});

/** Each digest once. */
export const distinctSkipped = (all: readonly SkippedContent[]): SkippedContent[] => [
  ...new Map(all.map((one) => [one.digest, one])).values(),
];

/** Rows keep digests: of an image with more foreign layers than any has, the others are not remembered. */
export const MOST_LAYERS_REMEMBERED = 100;

/** The foreign layers of a plan: of these alone 404 is an answer, and not a failure. */
export const optionalOf = ({ foreign }: { readonly foreign: readonly Descriptor[] }): ReadonlySet<Digest> =>
  new Set(foreign.map(({ digest }) => digest));
