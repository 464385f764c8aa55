import type { Catalog } from '../catalog/catalog.ts';
import type { Digest } from '../oci/digest.ts';
import type { ContentStore } from '../store/content-store.ts';
import { takeBack, uncompleteUses } from './take-back.ts';

export interface LoseContentDeps {
  readonly catalog: Catalog;
  readonly store: Pick<ContentStore, 'find'>;
}

/**
 * The store does not have what the catalogue says: its row says so from now on, and whatever used it is complete no more, so that the next request brings it
 * again. Looks at the store first: an event may be late, and the content back. True if it is gone, whoever said so first.
 */
export async function loseContent(
  { catalog, store }: LoseContentDeps,
  digest: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  const row = (await catalog.findBlobs([digest], signal)).get(digest);
  if (row === undefined) return false;
  if (row.state !== 'present') {
    // Whoever wrote that down may have died before the rest.
    await uncompleteUses(catalog, digest, signal);
    return true;
  }
  const stored = await store.find(digest, signal);
  if (stored !== undefined && stored.size === row.size && (row.etag === undefined || stored.etag === row.etag)) {
    return false;
  }
  await takeBack(catalog, digest, row, stored, signal);
  return true;
}
