import type { Catalog } from '../catalog/catalog.ts';
import type { Digest } from '../oci/digest.ts';
import type { ContentStore } from '../store/content-store.ts';
import { takeBack } from '../validate/take-back.ts';

/**
 * The store does not have what the catalogue says: its row says so from now on, and whatever used it is complete no more, so that the next request brings it
 * again. Looks at the store first: an event may be late, and the content back.
 */
export async function loseContent(
  deps: { readonly catalog: Catalog; readonly store: Pick<ContentStore, 'find'> },
  digest: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  const row = (await deps.catalog.findBlobs([digest], signal)).get(digest);
  if (row?.state !== 'present') return false;
  const stored = await deps.store.find(digest, signal);
  if (stored !== undefined && stored.size === row.size && (row.etag === undefined || stored.etag === row.etag)) {
    return false;
  }
  await takeBack(deps.catalog, digest, row, stored, signal);
  return true;
}
