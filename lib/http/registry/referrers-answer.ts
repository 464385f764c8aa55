import type { Referrer, ReferrersIndex } from '../../oci/referrers.ts';
import type { ServedReferrers } from '../../serve/referrers.ts';
import type { RegistryAnswer, ReceivedRequest } from './open-registry.ts';

/** Of one answer, whatever the door could carry. */
const PAGE_REFERRERS = 1_000;
/** What the way to the next page takes along of the query. */
const KEPT_PARAMETERS = ['ns', 'artifactType'];

/**
 * One page of what refers to a manifest, as much as the door carries, and a `Link` to the next:
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
 *
 * A page begins behind the digest `last`, whether or not that is in the list any more: a list that changes between two pages loses nothing that stays in it.
 */
export function referrersAnswer(
  { request, limits }: ReceivedRequest,
  query: URLSearchParams,
  { index, warning }: ServedReferrers,
): RegistryAnswer {
  const { manifests, next } = pageOf(index, query.get('last') ?? '', limits.bodyBytes);
  const following = new URLSearchParams();
  for (const name of KEPT_PARAMETERS) for (const value of query.getAll(name)) following.append(name, value);
  if (next !== undefined) following.set('last', next);
  return {
    status: 200,
    headers: {
      'content-type': index.mediaType,
      ...(query.has('artifactType') ? { 'oci-filters-applied': 'artifactType' } : {}),
      ...(warning === undefined ? {} : { warning }),
      ...(next === undefined ? {} : { link: `<${request.path}?${following.toString()}>; rel="next"` }),
    },
    body: Buffer.from(JSON.stringify({ ...index, manifests })),
  };
}

/** At least one entry, so that every client gets on: of a single one, the least that a door carries holds several. */
function pageOf(
  index: ReferrersIndex,
  last: string,
  mostBytes: number,
): { readonly manifests: readonly Referrer[]; readonly next?: string } {
  // Before the first of them is no comma.
  let bytes = Buffer.byteLength(JSON.stringify({ ...index, manifests: [] })) - 1;
  const manifests: Referrer[] = [];
  for (const referrer of index.manifests) {
    if (referrer.digest <= last) continue;
    bytes += Buffer.byteLength(JSON.stringify(referrer)) + 1;
    const before = manifests.at(-1);
    if (before !== undefined && (bytes > mostBytes || manifests.length === PAGE_REFERRERS)) {
      return { manifests, next: before.digest };
    }
    manifests.push(referrer);
  }
  return { manifests };
}
