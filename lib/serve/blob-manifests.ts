import type { Link } from '../catalog/catalog.ts';
import { isTyped } from '../catalog/needs.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { type Index, type Manifest, namedBlobs, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import type { Repository } from '../reference/reference.ts';
import { readBytes } from './stored-manifest.ts';
import { linksThatNeed } from './needed-by.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** Manifests of the repository that are read for one blob. */
const MOST_MANIFESTS = 20;

/** The manifests of this repository that name the blob, and the indexes that list it. */
export async function manifestsNaming(
  state: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<readonly Link[]> {
  const { deps, share } = state;
  const links = await share(`manifests of ${contentKey(repository, digest)}`, signal, (shared) =>
    linksThatNeed(deps.catalog, repository, digest, shared),
  );
  const naming: Link[] = [];
  for (const link of links.slice(0, MOST_MANIFESTS)) {
    if (!isIndexType(link.mediaType) || (await blobIn(state, link, digest, signal)) !== undefined) naming.push(link);
  }
  return naming;
}

/** The blob's descriptor in a manifest that names it, or in an index that lists it. */
export async function blobIn(
  state: Serving,
  link: Link,
  digest: Digest,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const content = await contentOf(state, link, signal);
  if (content === undefined) return undefined;
  const named = content.kind === 'manifest' ? namedBlobs(content) : content.entries.filter((entry) => !isTyped(entry));
  return named.find((blob) => blob.digest === digest);
}

/** Whether the manifests that name the blob were pulled without it: it is a foreign layer that their registry does not hold. */
export async function isForeign(
  state: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
  manifests: readonly Link[],
): Promise<boolean> {
  if (manifests.length === 0 || !manifests.every(({ landed }) => landed === true)) return false;
  for (const manifest of manifests) {
    const content = await contentOf(state, manifest, signal);
    if (content?.kind !== 'manifest' || !content.foreignLayers.some((layer) => layer.digest === digest)) return false;
  }
  return !(await state.deps.catalog.findLinks(repository, [digest], signal)).has(digest);
}

async function contentOf(state: Serving, link: Link, signal: AbortSignal): Promise<Index | Manifest | undefined> {
  const bytes = await readBytes(state, link, signal);
  return bytes && parseManifest(bytes, link.mediaType, state.deps.limits);
}
