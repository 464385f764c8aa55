import type { Referrer, ReferrersIndex } from '../../oci/referrers.ts';
import type { ServedReferrers } from '../../serve/referrers.ts';
import type { RegistryAnswer, ReceivedRequest } from './open-registry.ts';

/** Of one answer, also where the transport could carry more. */
const PAGE_REFERRERS = 1_000;
/** Parameters of the query that the link to the next page keeps. */
const KEPT_PARAMETERS = ['ns', 'artifactType'];

/**
 * One page of the referrers, as much as the transport carries, and a `Link` to the next:
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
 *
 * A page begins after the digest `last`, even if that is no longer in the list: where the list changes between two pages, no remaining entry is skipped.
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

/** At least one entry, so that clients always advance; even the smallest transport carries several. */
function pageOf(
  index: ReferrersIndex,
  last: string,
  mostBytes: number,
): { readonly manifests: readonly Referrer[]; readonly next?: string } {
  // No comma before the first entry.
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
