import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { PlannedContent } from './plan.ts';
import type { ReceiptPlatform, SkippedContent } from './receipt.ts';

/** A foreign layer that its registry does not hold. */
export const skippedLayer = ({ digest, mediaType, size }: Descriptor): SkippedContent => ({
  digest,
  mediaType,
  size,
  reason: 'foreign layer: its registry does not hold it, and urls are not followed',
});

const NOT_WHOLE = 'its registry does not have it, or not all of it, any more';

/** An optional entry of the index that is missing, incomplete or unreadable, with the reason if it is known. */
export function skippedEntry({ digest, mediaType, size, attests, fault }: IndexEntry, why = NOT_WHOLE): SkippedContent {
  const what = attests === undefined ? 'manifest without a platform' : `attestation of ${attests}`;
  return { digest, mediaType, size, reason: `${what}: ${fault ?? why}` };
}

/** Each digest once. */
export const distinctSkipped = (all: readonly SkippedContent[]): SkippedContent[] => [
  ...new Map(all.map((one) => [one.digest, one])).values(),
];

/** Those of the platforms of a receipt that were not left out. */
export function withoutSkipped(
  platforms: readonly ReceiptPlatform[],
  skipped: readonly SkippedContent[],
): ReceiptPlatform[] {
  const left = new Set(skipped.map(({ digest }) => digest));
  return platforms.filter(({ digest }) => !left.has(digest));
}

/** Skipped foreign layers that rows remember of one image; real images have fewer. */
export const MOST_LAYERS_REMEMBERED = 100;

/** The foreign layers of a plan. */
export const foreignOf = ({ foreign }: { readonly foreign: readonly Descriptor[] }): ReadonlySet<Digest> =>
  new Set(foreign.map(({ digest }) => digest));

/** The blobs for which 404 is not a failure: foreign layers, and blobs that only optional entries need. */
export function optionalOf(content: Pick<PlannedContent, 'foreign' | 'contents' | 'optional'>): ReadonlySet<Digest> {
  const mayLack = new Set(content.optional);
  const [own, needed] = [new Set(foreignOf(content)), new Set<Digest>()];
  for (const [entry, blobs] of content.contents) {
    for (const { digest } of blobs) (mayLack.has(entry) ? own : needed).add(digest);
  }
  return new Set([...own].filter((digest) => !needed.has(digest)));
}

/** The optional entries that need an absent blob, each with that blob. */
function entriesWithout(
  { contents, optional }: Pick<PlannedContent, 'contents' | 'optional'>,
  absent: ReadonlySet<Digest>,
): ReadonlyMap<Digest, Digest> {
  const lacking = optional.map(
    (entry) => [entry, contents.get(entry)?.find(({ digest }) => absent.has(digest))] as const,
  );
  return new Map(lacking.flatMap(([entry, blob]) => (blob === undefined ? [] : [[entry, blob.digest] as const])));
}

/** What a receipt says if the registry turned out not to have these blobs. */
export function skippedBy(content: PlannedContent, absent: ReadonlySet<Digest>): SkippedContent[] {
  const foreign = foreignOf(content);
  const lacking = entriesWithout(content, absent);
  return distinctSkipped([
    ...content.blobs.filter(({ digest }) => absent.has(digest) && foreign.has(digest)).map(skippedLayer),
    ...content.entries.flatMap((entry) => {
      const blob = lacking.get(entry.digest);
      return blob === undefined ? [] : [skippedEntry(entry, `its registry does not have ${blob}, a blob of it`)];
    }),
  ]);
}

/**
 * The content without the blobs that the registry turned out not to have. An optional entry that needs one of
 * them is left out as a whole: nothing of it is linked or counts as complete (I2).
 */
export function withoutAbsent(content: PlannedContent, absent: ReadonlySet<Digest>): PlannedContent {
  // A blob alone is not in `contents`: it would be dropped below.
  if (absent.size === 0) return content;
  const lacking = entriesWithout(content, absent);
  const contents = new Map([...content.contents].filter(([entry]) => !lacking.has(entry)));
  const foreign = content.foreign.filter(({ entry }) => !lacking.has(entry));
  const needed = new Set([...[...contents.values()].flat(), ...foreign].map(({ digest }) => digest));
  const layers = content.foreign.map(({ digest }) => digest).filter((digest) => absent.has(digest));
  return {
    ...content,
    contents,
    foreign,
    manifests: content.manifests.filter(({ digest }) => !lacking.has(digest)),
    blobs: content.blobs.filter(({ digest }) => needed.has(digest) && !absent.has(digest)),
    optional: content.optional.filter((entry) => !lacking.has(entry)),
    skipped: [...content.skipped, ...lacking.keys(), ...layers.slice(0, MOST_LAYERS_REMEMBERED)],
  };
}
