import { CacheError, UpstreamRefusedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { parseJson } from '../oci/descriptor.ts';
import { isTag } from '../reference/reference.ts';
import { readBounded } from './body.ts';
import { connectionFailure, registryWords } from './failure.ts';
import type { Session } from './session.ts';
import type { UpstreamResponse, RequestContext } from './transport.ts';

/** A list that registries serve in pages, each with a `Link` to the next. */
export interface PagedList {
  /** For errors: `list tags`. */
  readonly op: string;
  /** For errors: `the list of tags of team/app`. */
  readonly name: string;
  /** For errors: what to do about a list that cannot be read. */
  readonly advice: string;
  readonly mostPages: number;
}

export interface Page<T> {
  readonly content: T;
  /** The query of the next page, with its "?". Undefined for the last page. */
  readonly next: string | undefined;
}

const MAX_QUERY_CHARACTERS = 4096;
/** For all pages together. Callers usually have a shorter deadline. */
const LIST_TIMEOUT_MS = 5 * 60_000;

export const refusedList = ({ op, name, advice }: PagedList, what: string): UpstreamRefusedError =>
  new UpstreamRefusedError(op, `${name} ${what}; ${advice}`);

/**
 * The pages in order, starting with the query `first`.
 *
 * @throws UpstreamRefusedError if they form a circle or are too many; UpstreamUnavailableError if they take more than five minutes.
 */
export async function* pagesOf<T>(
  list: PagedList,
  first: string,
  read: (query: string) => Promise<Page<T>>,
): AsyncGenerator<T> {
  const asked = new Set<string>();
  const startedMs = performance.now();
  for (let query: string | undefined = first; query !== undefined;) {
    if (asked.has(query)) throw refusedList(list, 'has pages that link to each other in a circle');
    asked.add(query);
    if (asked.size > list.mostPages) throw refusedList(list, `has more than ${list.mostPages} pages`);
    if (performance.now() - startedMs > LIST_TIMEOUT_MS) throw tooSlow(list, asked.size);
    const page: Page<T> = await read(query);
    yield page.content;
    query = page.next;
  }
}

const tooSlow = ({ op, name }: PagedList, pages: number): UpstreamUnavailableError =>
  new UpstreamUnavailableError(op, `${name} was incomplete after ${pages - 1} pages and ${LIST_TIMEOUT_MS / 1000} s`, {
    timedOut: true,
  });

/**
 * The query of `Link: <…>; rel="next"` (RFC 8288). Undefined if there is no next page, "" for an unusable link. The rest of the
 * URL is ignored: behind a proxy it is often wrong, and it must not lead our credentials to another host or repository.
 */
export function nextQuery(list: PagedList, { headers, url }: UpstreamResponse): string | undefined {
  const links = [headers.link ?? []].flat().join(', ');
  if (links.length > 4 * MAX_QUERY_CHARACTERS) throw refusedList(list, 'has too long a link to its next page');
  const next = links.split(/,\s*(?=<)/).find((one) => /;\s*rel="?next"?\s*(?:;|$)/i.test(one));
  if (next === undefined) return undefined;
  const [, target] = /^\s*<([^>]*)>/.exec(next) ?? [];
  if (target === undefined || !URL.canParse(target, url.href)) return '';
  const { search } = new URL(target, url);
  if (search.length > MAX_QUERY_CHARACTERS) throw refusedList(list, 'has too long a link to its next page');
  return search;
}

/** At most the first `mostBytes` of a page, and whether there were more. Bounded in time. */
export async function readPage(
  { op }: PagedList,
  { body, from, bodyTimeoutMs }: UpstreamResponse,
  mostBytes: number,
  signal: AbortSignal,
): Promise<{ readonly bytes: Buffer; readonly truncated: boolean }> {
  return await readBounded(body, mostBytes, bodyTimeoutMs).catch((error: unknown) => {
    signal.throwIfAborted();
    throw connectionFailure(op, from, error);
  });
}

const OP = 'list tags';
/** Tags requested per page. Registries may send fewer; some send all at once. */
const PAGE_TAGS = 1000;
/** Registries that send 100 tags per page reach {@link MAX_TAGS}. */
const MAX_PAGES = 500;
const MAX_TAGS = 50_000;
/** Some registries add other data to the list. */
const MAX_PAGE_BYTES = 16 * 1024 * 1024;

/** Every tag of the repository, each once, in the registry's order: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
export async function listUpstreamTags(
  session: Session,
  path: string,
  context: RequestContext,
): Promise<readonly string[]> {
  const list: PagedList = {
    op: OP,
    name: `the list of tags of ${path}`,
    advice: 'name the references that you want instead',
    mostPages: MAX_PAGES,
  };
  const tags = new Set<string>();
  const pages = pagesOf(list, `?n=${PAGE_TAGS}`, (query) => askForPage(session, list, path, query, context));
  for await (const page of pages) {
    for (const tag of page) tags.add(tag);
    if (tags.size > MAX_TAGS) throw refusedList(list, `has more than ${MAX_TAGS} tags`);
  }
  return [...tags];
}

async function askForPage(
  session: Session,
  list: PagedList,
  path: string,
  search: string,
  context: RequestContext,
): Promise<Page<readonly string[]>> {
  const request = {
    op: OP,
    kind: 'tags',
    method: 'GET',
    path,
    reference: 'list',
    search,
    headers: { accept: 'application/json' },
    accepts: [200, 404],
    follow: true,
  } as const;
  return await session.ask(request, context, async (answer) => {
    if (answer.status === 404) throw await unknownRepository(path, answer);
    try {
      const next = nextQuery(list, answer);
      // Some registries send an empty link on the last page.
      return { content: await readTags(list, answer, context.signal), next: next === '' ? undefined : next };
    } finally {
      answer.body.destroy();
    }
  });
}

async function readTags(list: PagedList, answer: UpstreamResponse, signal: AbortSignal): Promise<readonly string[]> {
  const { bytes, truncated } = await readPage(list, answer, MAX_PAGE_BYTES, signal);
  if (truncated) throw refusedList(list, `comes in a page of more than ${MAX_PAGE_BYTES} bytes`);
  let page: unknown;
  try {
    page = parseJson(bytes);
  } catch {
    page = undefined;
  }
  const { tags } = (page ?? {}) as { tags?: unknown };
  // Registries in Go write null for an empty list.
  if (tags === null) return [];
  if (Array.isArray(tags)) {
    // Checked before each tag is.
    if (tags.length > MAX_TAGS) throw refusedList(list, `has more than ${MAX_TAGS} tags in one page`);
    // Invalid tags cannot be pulled anyway.
    return tags.filter(isTag);
  }
  throw new UpstreamRefusedError(OP, `${answer.from} did not answer with a list of tags, {"tags": […]}`);
}

async function unknownRepository(path: string, answer: UpstreamResponse): Promise<CacheError> {
  const words = await registryWords(answer);
  return new CacheError(`${answer.server} has no repository ${path}${words}; check the name`, {
    code: 'NAME_UNKNOWN',
    op: OP,
    origin: 'upstream',
    retryable: false,
  });
}
