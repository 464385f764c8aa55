import type { Catalog, Link } from '../catalog/catalog.ts';
import { neederOf } from '../catalog/needs.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../reference/reference.ts';

/** Uses that are looked at together: one read of them, one of the links. */
const PAGE_USES = 100;
const MOST_PAGES = 20;

/**
 * Manifests and indexes of this repository that need the digest: two reads, however many others need it. What landed here says so itself; where no row says
 * it, because an older version wrote them, the uses of everybody are looked through, up to {@link MOST_PAGES} pages, and the first page that gives one ends
 * that.
 */
export async function linksThatNeed(
  catalog: Pick<Catalog, 'findNeededBy' | 'findLinks' | 'usesOf'>,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly Link[]> {
  const linked = async (needers: readonly Digest[]): Promise<readonly Link[]> =>
    needers.length === 0 ? [] : [...(await catalog.findLinks(repository, needers, signal)).values()];

  const known = await linked(await catalog.findNeededBy(repository, digest, signal));
  if (known.length > 0) return known;
  let pages = 0;
  for await (const uses of catalog.usesOf(digest, { pageSize: PAGE_USES, signal })) {
    const needers = new Set(uses.map(neederOf).filter((needer) => needer !== undefined));
    const found = await linked([...needers]);
    if (found.length > 0 || ++pages === MOST_PAGES) return found;
  }
  return [];
}
