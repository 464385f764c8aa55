import type { CachedReference, Root } from '../catalog/catalog.ts';
import type { Images } from '../catalog/ports.ts';
import { contentIdOf } from '../catalog/needs.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { platformsOf } from '../pull/receipt-draft.ts';
import type { ReceiptPlatform } from '../pull/receipt.ts';
import { formatReference, pointerOf, type Repository } from '../reference/reference.ts';

/** What the cache holds under one reference. JSON of this shape is the public answer of the API. */
export interface CachedImage {
  readonly reference: string;
  /** What is published under the reference. */
  readonly digest: Digest;
  /** Null if the catalogue lost the root. */
  readonly mediaType: string | null;
  readonly platforms: readonly ReceiptPlatform[];
  /** Bytes of the distinct manifests and blobs that are complete; null if the catalogue lost the root. */
  readonly size: number | null;
  /** The registry's last answer for the reference; differs from `digest` until the new image is in the cache. */
  readonly resolved: Digest | null;
  /** What was published before. */
  readonly previous: Digest | null;
  /** When the registry was last asked (ISO 8601). */
  readonly checkedAt: string | null;
  readonly publishedAt: string | null;
}

/** The image as its repository may serve it. Undefined if the reference was resolved, but never published. */
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

/** The complete entries of the root that the repository may serve (I2 and I9). */
export const heldEntries = ({ root, linked }: HeldRoot): readonly IndexEntry[] =>
  (root?.entries ?? []).filter(({ digest }) => root?.complete.has(digest) === true && linked?.has(digest) === true);

/** Bytes of the root and those entries by the catalogue; each manifest, config and layer counts once. */
export function heldBytes(root: Root, entries: readonly IndexEntry[]): number {
  const sizes = new Map<string, number>([[root.digest, root.size]]);
  for (const entry of entries) {
    sizes.set(entry.digest, entry.size);
    // A blob that an index lists has itself in `contents`.
    const own = contentIdOf(entry.digest);
    for (const { id, size } of root.contents.get(entry.digest) ?? []) if (id !== own) sizes.set(id, size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/** Far below the 6 MB of one Lambda response. */
const PAGE_BYTES = 1024 * 1024;
/** Many repositories may have no tags left: then a page ends after this time. */
const PAGE_MS = 10_000;

/** A place in the list of images: after one pointer of a repository, or after all of them. */
export interface ImagePosition {
  readonly repository: Repository;
  readonly pointer?: string;
}

export interface ImagePageRequest {
  /** One repository alone, instead of all. */
  readonly repository?: Repository | undefined;
  /** The end of the page before. */
  readonly after?: ImagePosition | undefined;
  readonly limit: number;
  /** Which repositories may be listed. Of the others, not even the number of images shows. */
  readonly mayList: (repository: Repository) => boolean;
}

export interface ImagePage {
  readonly images: readonly CachedImage[];
  /** Where the next page begins; absent at the end of the list. Never names a repository that may not be listed. */
  readonly next?: ImagePosition;
}

/** Everything that is published, by repository and pointer. */
export async function* allImages(catalog: Images, signal: AbortSignal): AsyncGenerator<CachedReference> {
  for await (const repository of catalog.repositories(undefined, signal)) {
    yield* catalog.imagesOf(repository, undefined, signal);
  }
}

/**
 * The next images in the order of repositories and pointers: up to `limit`, or fewer with `next` when the
 * page is full or takes too long. Publishes and removals meanwhile do not matter: an image that stays is
 * listed exactly once.
 *
 * @throws CatalogError
 */
export async function imagePage(catalog: Images, request: ImagePageRequest, signal: AbortSignal): Promise<ImagePage> {
  const startedMs = performance.now();
  const images: CachedImage[] = [];
  let bytes = 0;
  let last: ImagePosition | undefined;
  for await (const { repository, found } of walk(catalog, request, signal)) {
    const image = found && cachedImage(found);
    const size = image === undefined ? 0 : JSON.stringify(image).length;
    const isFull = images.length === request.limit || (images.length > 0 && bytes + size > PAGE_BYTES);
    const isLate = last !== undefined && performance.now() - startedMs > PAGE_MS;
    if (last !== undefined && ((image !== undefined && isFull) || isLate)) return { images, next: last };
    if (image !== undefined) images.push(image);
    bytes += size;
    last = found === undefined ? { repository } : { repository, pointer: pointerOf(found.reference) };
  }
  return { images };
}

/** Every image from the request's position on, and the end of each repository, listed or not. */
async function* walk(
  catalog: Images,
  { repository: only, after, mayList }: ImagePageRequest,
  signal: AbortSignal,
): AsyncGenerator<{ readonly repository: Repository; readonly found?: CachedReference }> {
  const allOf = async function* (repository: Repository, pointer: string | undefined) {
    if (!mayList(repository)) return;
    for await (const found of catalog.imagesOf(repository, pointer, signal)) yield { repository, found };
    yield { repository };
  };
  if (after?.pointer !== undefined) yield* allOf(after.repository, after.pointer);
  if (only !== undefined) {
    if (after === undefined) yield* allOf(only, undefined);
    return;
  }
  for await (const repository of catalog.repositories(after?.repository, signal)) yield* allOf(repository, undefined);
}
