import { ManifestUnknownError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { OCI_INDEX } from '../oci/media-type.ts';
import {
  MOST_REFERRERS,
  parseReferrers,
  referrersIndex,
  type Referrer,
  type ReferrersIndex,
  referrersTag,
} from '../oci/referrers.ts';
import { discard } from './body.ts';
import { single } from './failure.ts';
import { fetchTag } from './manifests.ts';
import { nextQuery, type Page, type PagedList, pagesOf, readPage, refusedList } from './tags.ts';
import type { Session } from './session.ts';
import type { UpstreamResponse, RequestContext } from './transport.ts';

const OP = 'list referrers';
/** As many as can be fetched before a client gives up. */
const MAX_PAGES = 100;
const FIRST_PAGE = '';
/** Statuses of registries with and without the API. */
const NO_SUCH_API = [200, 400, 404, 405, 406, 501];

/** The referrers of one manifest at one registry. */
interface Asked {
  readonly session: Session;
  readonly path: string;
  readonly subject: Digest;
  readonly list: PagedList;
}

/**
 * All referrers of the manifest, by the referrers API, or by the tag schema if the registry has no such API. Empty if there are none.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
 *
 * @throws UpstreamRefusedError if the list is endless or incomplete: a missing signature must not look like one that never existed.
 */
export async function listReferrers(
  session: Session,
  path: string,
  subject: Digest,
  context: RequestContext,
): Promise<ReferrersIndex> {
  const list: PagedList = {
    op: OP,
    name: `the list of what refers to ${subject} in ${path}`,
    advice: 'nothing of it is served, because an incomplete list would look complete',
    mostPages: MAX_PAGES,
  };
  const asked = { session, path, subject, list };
  const mostBytes = session.limits.manifestBytes;
  const found: Referrer[] = [];
  let bytes = 0;
  for await (const page of pagesOf(list, FIRST_PAGE, (query) => askForPage(asked, query, mostBytes - bytes, context))) {
    const content = page ?? (await readByTagSchema(asked, context));
    if (content === undefined) break;
    bytes += content.byteLength;
    found.push(...parseReferrers(content));
    if (found.length > MOST_REFERRERS) throw refusedList(list, `has more than ${MOST_REFERRERS} entries`);
  }
  return referrersIndex(found);
}

/** One page. Undefined instead of the first if the registry has no such API. */
async function askForPage(
  { session, path, subject, list }: Asked,
  search: string,
  mostBytes: number,
  context: RequestContext,
): Promise<Page<Uint8Array | undefined>> {
  const isFirst = search === FIRST_PAGE;
  const request = {
    op: OP,
    kind: 'referrers',
    method: 'GET',
    path,
    reference: subject,
    search,
    headers: { accept: OCI_INDEX },
    accepts: isFirst ? NO_SUCH_API : [200],
    follow: true,
  } as const;
  return await session.ask(request, context, async (answer) => {
    if (!isReferrersAnswer(answer)) {
      await discard(answer.body);
      if (isFirst) return { content: undefined, next: undefined };
      throw refusedList(list, 'continues with a page that is not an image index');
    }
    try {
      // We sent no filter.
      if ((single(answer.headers['oci-filters-applied']) ?? '') !== '') throw refusedList(list, 'came filtered');
      const next = nextQuery(list, answer);
      if (next === '') throw refusedList(list, 'has a link to a next page that cannot be requested');
      const { bytes, truncated } = await readPage(list, answer, mostBytes, context.signal);
      if (!truncated) return { content: bytes, next };
      throw refusedList(list, `has more than ${session.limits.manifestBytes} bytes ("manifestBytes" of "limits")`);
    } finally {
      answer.body.destroy();
    }
  });
}

function isReferrersAnswer({ status, headers }: UpstreamResponse): boolean {
  const type = single(headers['content-type'])?.split(';')[0]?.trim().toLowerCase();
  return status === 200 && type === OCI_INDEX;
}

/** The index under `sha256-<hex>`, which clients of registries without the API maintain. Undefined if there is none. */
async function readByTagSchema(
  { session, path, subject }: Asked,
  context: RequestContext,
): Promise<Uint8Array | undefined> {
  try {
    return (await fetchTag(session, path, referrersTag(subject), context)).manifest.bytes;
  } catch (error) {
    if (error instanceof ManifestUnknownError) return undefined;
    throw error;
  }
}
