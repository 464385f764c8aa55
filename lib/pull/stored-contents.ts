import { isTyped } from '../catalog/needs.ts';
import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { blobsOf, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { PullLimits } from './pull-request.ts';

export interface StoredContentsDeps {
  readonly store: ContentStore;
  readonly limits: Pick<PullLimits, 'manifestBytes' | 'fanOut'>;
}

/** The configs and layers of a manifest in the store, which is one by its own bytes where its entry does not say so; undefined where the manifest itself is gone, none below an index. */
export async function storedContents(
  { store, limits }: StoredContentsDeps,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<Descriptor[] | undefined> {
  if (isIndexType(entry.mediaType)) return [];
  try {
    const bytes = await store.read(entry, limits.manifestBytes, signal);
    const manifest = parseManifest(bytes, isTyped(entry) ? entry.mediaType : undefined, limits);
    return manifest.kind === 'manifest' ? blobsOf(manifest) : [];
  } catch (error) {
    if (error instanceof ContentLostError) return undefined;
    throw error;
  }
}
