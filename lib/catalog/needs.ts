import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import { type Digest, hexOf } from '../oci/digest.ts';
import { isManifestOrIndexType } from '../oci/media-type.ts';
import type { ForeignLayer, Link, Root } from './catalog.ts';

/** Enough of a digest to tell it from the others of the same root. */
const ID_BYTES = 9;

export const contentIdOf = (digest: Digest): string =>
  Buffer.from(hexOf(digest), 'hex').toString('base64url', 0, ID_BYTES);

/** How the registry has an entry of an index that needs nothing but itself. */
export type BareKind = 'blob' | 'manifest';

/**
 * What a root has that needs nothing but itself: foreign layers, and the entries of an index whose type is none of a manifest or index that we know, as far as pulls
 * found out what they are. A blob is said to need itself, a manifest of an unknown type to need nothing; no row CHILD says so, because to others the same bytes may be
 * a manifest that needs more.
 */
export function bareEntries({
  entries,
  contents,
  foreign = [],
}: Pick<Root, 'entries' | 'contents'> & Partial<Pick<Root, 'foreign'>>): ReadonlyMap<Digest, BareKind> {
  const typed = new Set(entries.filter(isTyped).map(({ digest }) => digest));
  const bare = new Map<Digest, BareKind>();
  for (const { digest } of entries) {
    const needs = typed.has(digest) ? undefined : contents.get(digest);
    if (needs === undefined) continue;
    if (needs.length === 0) bare.set(digest, 'manifest');
    else if (needs.length === 1 && needs[0]?.id === contentIdOf(digest)) bare.set(digest, 'blob');
  }
  const listed = new Set(entries.map(({ digest }) => digest));
  for (const { digest } of foreign) if (!listed.has(digest)) bare.set(digest, 'blob');
  return bare;
}

/** Whether the entry says itself that it is a manifest or index. */
export const isTyped = ({ mediaType }: Pick<IndexEntry, 'mediaType'>): boolean => isManifestOrIndexType(mediaType);

/** Contents as the catalogue shows them. */
export const talliesOf = (contents: ReadonlyMap<Digest, readonly Descriptor[]>): Root['contents'] => ({
  get: (entry) => contents.get(entry)?.map(({ digest, size }) => ({ id: contentIdOf(digest), size })),
});

/** Entries of an index that are blobs, not manifests: see {@link bareEntries}. */
export const blobEntries = (contents: ReadonlyMap<Digest, readonly Pick<Descriptor, 'digest'>[]>): Digest[] =>
  [...contents].flatMap(([entry, blobs]) => (blobs[0]?.digest === entry ? [entry] : []));

/** Manifests of one root, and what each of them needs. */
export interface Needs {
  readonly root: Digest | undefined;
  readonly contents: ReadonlyMap<Digest, readonly Pick<Descriptor, 'digest'>[]>;
  readonly foreign: readonly Pick<ForeignLayer, 'digest' | 'entry'>[];
}

/**
 * The links, each with what needs it: of a blob the first manifest that names it, of a manifest or blob that an index lists the root that leads to it. Whoever finds the content gone knows what
 * brings it again, however many others use it.
 */
export function withNeeders(links: readonly Link[], { root, contents, foreign }: Needs): Link[] {
  const needers = new Map<Digest, Digest>();
  for (const [manifest, blobs] of contents) {
    for (const { digest } of blobs) if (digest !== manifest && !needers.has(digest)) needers.set(digest, manifest);
  }
  for (const { digest, entry } of foreign) if (!needers.has(digest)) needers.set(digest, entry);
  return links.map((link) => {
    const isListed = (link.landed === true || contents.has(link.digest)) && link.digest !== root;
    const neededBy = needers.get(link.digest) ?? (isListed ? root : undefined);
    return neededBy === undefined ? link : { ...link, neededBy };
  });
}

/** What a registry did not have, after a publish that found `complete` and did not find `skipped`. */
export function skippedAfter(
  known: ReadonlySet<Digest> | undefined,
  complete: readonly Digest[],
  skipped: readonly Digest[],
): ReadonlySet<Digest> {
  const found = new Set(complete);
  return new Set([...(known ?? []), ...skipped].filter((digest) => !found.has(digest)));
}
