import { UpstreamRefusedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { readBounded } from './body.ts';
import { connectionFailure } from './failure.ts';
import type { Answer } from './transport.ts';

/** A list that registries give in pages, each with a `Link` to the next. */
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
  /** The query of the next page, with its "?"; undefined where this was the last. */
  readonly next: string | undefined;
}

const MAX_QUERY_CHARACTERS = 4096;
/** Of all pages together. Whoever asks has a deadline of its own, mostly a shorter one. */
const LIST_TIMEOUT_MS = 5 * 60_000;

export const refusedList = ({ op, name, advice }: PagedList, what: string): UpstreamRefusedError =>
  new UpstreamRefusedError(op, `${name} ${what}; ${advice}`);

/**
 * The pages in the order in which they lead to each other, from the query `first` on.
 *
 * @throws UpstreamRefusedError where they lead in a circle, or on and on; UpstreamUnavailableError where all of them together take more than five minutes.
 */
export async function* pagesOf<T>(
  list: PagedList,
  first: string,
  read: (query: string) => Promise<Page<T>>,
): AsyncGenerator<T> {
  const asked = new Set<string>();
  const startedMs = performance.now();
  for (let query: string | undefined = first; query !== undefined;) {
    if (asked.has(query)) throw refusedList(list, 'leads from page to page in a circle');
    asked.add(query);
    if (asked.size > list.mostPages) throw refusedList(list, `has more than ${list.mostPages} pages`);
    if (performance.now() - startedMs > LIST_TIMEOUT_MS) throw tooSlow(list, asked.size);
    const page: Page<T> = await read(query);
    yield page.content;
    query = page.next;
  }
}

const tooSlow = ({ op, name }: PagedList, pages: number): UpstreamUnavailableError =>
  new UpstreamUnavailableError(op, `${name} was not whole after ${pages - 1} pages and ${LIST_TIMEOUT_MS / 1000} s`, {
    timedOut: true,
  });

/**
 * The query of `Link: <…>; rel="next"` (RFC 8288): undefined where there is no next page, "" where none can be made of what is named. Nothing else of the
 * address is taken: registries behind a proxy write hosts and paths that lead nowhere, and a list must not lead us, with our credentials, to another host or
 * repository.
 */
export function nextQuery(list: PagedList, { headers, url }: Answer): string | undefined {
  const links = [headers.link ?? []].flat().join(', ');
  if (links.length > 4 * MAX_QUERY_CHARACTERS) throw refusedList(list, 'names a next page in too many words');
  const next = links.split(/,\s*(?=<)/).find((one) => /;\s*rel="?next"?\s*(?:;|$)/i.test(one));
  if (next === undefined) return undefined;
  const [, target] = /^\s*<([^>]*)>/.exec(next) ?? [];
  if (target === undefined || !URL.canParse(target, url.href)) return '';
  const { search } = new URL(target, url);
  if (search.length > MAX_QUERY_CHARACTERS) throw refusedList(list, 'names a next page in too many words');
  return search;
}

/** The first `mostBytes` of a page at most, and whether there were more; bounded in time, too. A connection that breaks is what it means. */
export async function readPage(
  { op }: PagedList,
  { body, from, bodyTimeoutMs }: Answer,
  mostBytes: number,
  signal: AbortSignal,
): Promise<{ readonly bytes: Buffer; readonly truncated: boolean }> {
  return await readBounded(body, mostBytes, bodyTimeoutMs).catch((error: unknown) => {
    signal.throwIfAborted();
    throw connectionFailure(op, from, error);
  });
}
