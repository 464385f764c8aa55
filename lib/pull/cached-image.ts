import type { CachedReference, Root } from '../catalog/catalog.ts';
import { contentIdOf } from '../catalog/needs.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { formatReference } from '../reference/reference.ts';
import { platformsOf } from './receipt-draft.ts';
import type { ReceiptPlatform } from './receipt.ts';

/** What the cache holds under one reference. JSON of this shape is the public answer of the API. */
export interface CachedImage {
  readonly reference: string;
  /** What is published under the reference. */
  readonly digest: Digest;
  /** Null where the catalogue lost the root. */
  readonly mediaType: string | null;
  readonly platforms: readonly ReceiptPlatform[];
  /** Bytes of the distinct manifests and blobs that are complete; null where the catalogue lost the root. */
  readonly size: number | null;
  /** What the registry said last that the reference means: another digest than `digest` until that is in the cache. */
  readonly resolved: Digest | null;
  /** What was published before. */
  readonly previous: Digest | null;
  /** When the registry was last asked (ISO 8601). */
  readonly checkedAt: string | null;
  readonly publishedAt: string | null;
}

/** The image as its repository may serve it. Undefined where the reference was resolved, but nothing ever published. */
export function cachedImage({ reference, pointer, root, linked }: CachedReference): CachedImage | undefined {
  const digest = pointer.published;
  if (digest === undefined) return undefined;
  const entries = heldEntries({ root, linked });
  const complete = new Set(entries.map((entry) => entry.digest));
  return {
    reference: formatReference(reference),
    digest,
    mediaType: root?.mediaType ?? null,
    platforms: platformsOf((root?.entries ?? []).map((entry) => ({ entry, complete: complete.has(entry.digest) }))),
    size: root === undefined ? null : heldBytes(root, entries),
    resolved: pointer.resolved ?? null,
    previous: pointer.previous ?? null,
    checkedAt: isoOf(pointer.checkedMs),
    publishedAt: isoOf(pointer.publishedMs),
  };
}

const isoOf = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

/** A root, and what of it the repository may serve. */
interface HeldRoot {
  readonly root?: Root | undefined;
  readonly linked?: ReadonlySet<Digest> | undefined;
}

/** The entries of the root that are all in the store and that the repository may serve (I2 and I9). */
export const heldEntries = ({ root, linked }: HeldRoot): readonly IndexEntry[] =>
  (root?.entries ?? []).filter(({ digest }) => root?.complete.has(digest) === true && linked?.has(digest) === true);

/** Bytes of the root and those entries; each manifest, config and layer once; from the catalogue alone. */
export function heldBytes(root: Root, entries: readonly IndexEntry[]): number {
  const sizes = new Map<string, number>([[root.digest, root.size]]);
  for (const entry of entries) {
    sizes.set(entry.digest, entry.size);
    // A blob that an index lists has itself there.
    const own = contentIdOf(entry.digest);
    for (const { id, size } of root.contents.get(entry.digest) ?? []) if (id !== own) sizes.set(id, size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}
