import type { CachedReference, Catalog } from '../catalog/catalog.ts';
import { pointerOf, type Repository } from '../reference/reference.ts';
import { cachedImage, type CachedImage } from './cached-image.ts';

/** What fits into one answer of Lambda (6 MB) many times over. */
const PAGE_BYTES = 1024 * 1024;
/** Where many repositories have lost all their tags, a page ends early rather than late. */
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
  /** Which repositories may be listed: of the others not even the number of their images shows. */
  readonly mayList: (repository: Repository) => boolean;
}

export interface ImagePage {
  readonly images: readonly CachedImage[];
  /** Where the next page begins. Absent at the end of the list. It never names a repository that may not be listed. */
  readonly next?: ImagePosition;
}

type ListCatalog = Pick<Catalog, 'repositories' | 'imagesOf'>;

/**
 * The next images in the order of repositories and pointers: `limit` of them, or fewer where time or room runs out; then with `next`. What is published or
 * removed meanwhile moves nothing else: an image that stays is listed exactly once.
 *
 * @throws CatalogError
 */
export async function imagePage(
  catalog: ListCatalog,
  request: ImagePageRequest,
  signal: AbortSignal,
): Promise<ImagePage> {
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
  catalog: ListCatalog,
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
