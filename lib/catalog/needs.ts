import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import { type Digest, hexOf } from '../oci/digest.ts';
import { isManifestOrIndexType } from '../oci/media-type.ts';
import type { ForeignLayer, Link, Root } from './catalog.ts';

/** Bytes of a digest that identify content within one root. */
const ID_BYTES = 9;

export const contentIdOf = (digest: Digest): string =>
  Buffer.from(hexOf(digest), 'hex').toString('base64url', 0, ID_BYTES);

/** What an entry of an index is that needs nothing but itself. */
export type BareKind = 'blob' | 'manifest';

/**
 * The content of a root that needs nothing but itself: foreign layers, and entries whose type is not a known
 * manifest or index type, once a pull has found out what they are. In `contents`, a blob needs itself and a
 * manifest of an unknown type needs nothing. They have no row CHILD, because another registry may give the
 * same bytes as a manifest that needs more.
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

/** Whether the entry's own type is that of a manifest or index. */
export const isTyped = ({ mediaType }: Pick<IndexEntry, 'mediaType'>): boolean => isManifestOrIndexType(mediaType);

/** Contents in the form in which the catalogue returns them. */
export const talliesOf = (contents: ReadonlyMap<Digest, readonly Descriptor[]>): Root['contents'] => ({
  get: (entry) => contents.get(entry)?.map(({ digest, size }) => ({ id: contentIdOf(digest), size })),
});

/** Entries of an index that are blobs, not manifests: see {@link bareEntries}. */
export const blobEntries = (contents: ReadonlyMap<Digest, readonly Pick<Descriptor, 'digest'>[]>): Digest[] =>
  [...contents].flatMap(([entry, blobs]) => (blobs[0]?.digest === entry ? [entry] : []));

/** Manifests of one root, and what each of them needs. */
interface Needs {
  readonly root: Digest | undefined;
  readonly contents: ReadonlyMap<Digest, readonly Pick<Descriptor, 'digest'>[]>;
  readonly foreign: readonly Pick<ForeignLayer, 'digest' | 'entry'>[];
}

/**
 * The links with `neededBy`: for a blob the first manifest that names it, for a manifest or blob that an
 * index lists the root. If the content is lost later, a pull of that manifest brings it again.
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

/** What the registry lacks after a publish: what was known and `skipped`, without `complete`. */
export function skippedAfter(
  known: ReadonlySet<Digest> | undefined,
  complete: readonly Digest[],
  skipped: readonly Digest[],
): ReadonlySet<Digest> {
  const found = new Set(complete);
  return new Set([...(known ?? []), ...skipped].filter((digest) => !found.has(digest)));
}
