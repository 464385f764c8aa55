import type { Link } from '../catalog/catalog.ts';
import type { Links } from '../catalog/ports.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../reference/reference.ts';

/** Manifests and indexes of this repository that need the digest: two reads, however many other repositories need it. */
export async function linksThatNeed(
  catalog: Links,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly Link[]> {
  const needers = await catalog.findNeededBy(repository, digest, signal);
  return needers.length === 0 ? [] : [...(await catalog.findLinks(repository, needers, signal)).values()];
}
