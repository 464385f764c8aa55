import { CacheError, UpstreamRefusedError } from '../errors/cache-error.ts';
import { parseJson } from '../oci/descriptor.ts';
import { isTag } from '../reference/reference.ts';
import { registryWords } from './failure.ts';
import { nextQuery, pagesOf, readPage, refusedList, type Page, type PagedList } from './pages.ts';
import type { Session } from './session.ts';
import type { Answer, Caller } from './transport.ts';

const OP = 'list tags';
/** Tags asked for with each page. Registries give fewer as they like, and some give all at once. */
const PAGE_TAGS = 1000;
/** Registries that give 100 at a time come to 50,000 tags. */
const MAX_PAGES = 500;
const MAX_TAGS = 50_000;
/** Some registries put more into the list than tags. */
const MAX_PAGE_BYTES = 16 * 1024 * 1024;

/** Every tag of the repository, each once, in the registry's order: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
export async function listTags(session: Session, path: string, caller: Caller): Promise<readonly string[]> {
  const list: PagedList = {
    op: OP,
    name: `the list of tags of ${path}`,
    advice: 'name the references that you want instead',
    mostPages: MAX_PAGES,
  };
  const tags = new Set<string>();
  const pages = pagesOf(list, `?n=${PAGE_TAGS}`, (query) => askForPage(session, list, path, query, caller));
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
  caller: Caller,
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
  return await session.ask(request, caller, async (answer) => {
    if (answer.status === 404) throw await unknownRepository(path, answer);
    try {
      const next = nextQuery(list, answer);
      // Some registries write a next page that is none.
      return { content: await readTags(list, answer, caller.signal), next: next === '' ? undefined : next };
    } finally {
      answer.body.destroy();
    }
  });
}

async function readTags(list: PagedList, answer: Answer, signal: AbortSignal): Promise<readonly string[]> {
  const { bytes, truncated } = await readPage(list, answer, MAX_PAGE_BYTES, signal);
  if (truncated) throw refusedList(list, `comes in a page of more than ${MAX_PAGE_BYTES} bytes`);
  let page: unknown;
  try {
    page = parseJson(bytes);
  } catch {
    page = undefined;
  }
  const { tags } = (page ?? {}) as { tags?: unknown };
  // Go's registries write an empty list as null.
  if (tags === null) return [];
  if (Array.isArray(tags)) {
    // Before anything looks at each of them.
    if (tags.length > MAX_TAGS) throw refusedList(list, `has more than ${MAX_TAGS} tags in one page`);
    // What is outside the grammar cannot be pulled by that name either.
    return tags.filter(isTag);
  }
  throw new UpstreamRefusedError(OP, `${answer.from} did not answer with a list of tags, {"tags": […]}`);
}

async function unknownRepository(path: string, answer: Answer): Promise<CacheError> {
  const words = await registryWords(answer);
  return new CacheError(`${answer.server} has no repository ${path}${words}; check the name`, {
    code: 'NAME_UNKNOWN',
    op: OP,
    origin: 'upstream',
    retryable: false,
  });
}
