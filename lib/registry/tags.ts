import { CacheError, UpstreamRefusedError } from '../errors/cache-error.ts';
import { isTag } from '../reference/reference.ts';
import { readBounded } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import type { Session } from './session.ts';
import { shown, type Answer, type Caller } from './transport.ts';

const OP = 'list tags';
/** Tags asked for with each page. Registries give fewer as they like, and some give all at once. */
const PAGE_TAGS = 1000;
/** Registries that give 100 at a time come to 50,000 tags. */
const MAX_PAGES = 500;
const MAX_TAGS = 50_000;
/** Some registries put more into the list than tags. */
const MAX_PAGE_BYTES = 16 * 1024 * 1024;
const MAX_QUERY_CHARACTERS = 4096;

interface Page {
  readonly tags: readonly string[];
  /** The query of the next page. */
  readonly next: string | undefined;
}

/** Every tag of the repository, each once, in the registry's order: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
export async function listTags(session: Session, path: string, caller: Caller): Promise<readonly string[]> {
  const tags = new Set<string>();
  const asked = new Set<string>();
  let search: string | undefined = `?n=${PAGE_TAGS}`;
  while (search !== undefined) {
    if (asked.has(search)) throw refused(path, 'leads from page to page in a circle');
    asked.add(search);
    if (asked.size > MAX_PAGES) throw refused(path, `has more than ${MAX_PAGES} pages`);
    const page: Page = await readPage(session, path, search, caller);
    for (const tag of page.tags) tags.add(tag);
    if (tags.size > MAX_TAGS) throw refused(path, `has more than ${MAX_TAGS} tags`);
    search = page.next;
  }
  return [...tags];
}

const refused = (path: string, what: string): UpstreamRefusedError =>
  new UpstreamRefusedError(OP, `the list of tags of ${path} ${what}; name the references that you want instead`);

async function readPage(session: Session, path: string, search: string, caller: Caller): Promise<Page> {
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
      const next = nextQuery(single(answer.headers.link), answer.url, path);
      return { tags: await readTags(answer, path, caller.signal), next };
    } finally {
      answer.body.destroy();
    }
  });
}

async function readTags(answer: Answer, path: string, signal: AbortSignal): Promise<readonly string[]> {
  const { bytes, truncated } = await readBounded(answer.body, MAX_PAGE_BYTES).catch((error: unknown) => {
    signal.throwIfAborted();
    throw connectionFailure(OP, shown(answer.url), error);
  });
  if (truncated) throw refused(path, `comes in a page of more than ${MAX_PAGE_BYTES} bytes`);
  let page: unknown;
  try {
    page = JSON.parse(bytes.toString('utf8'));
  } catch {
    page = undefined;
  }
  const { tags } = (page ?? {}) as { tags?: unknown };
  // Go's registries write an empty list as null.
  if (tags === null) return [];
  if (Array.isArray(tags)) {
    // Before anything looks at each of them.
    if (tags.length > MAX_TAGS) throw refused(path, `has more than ${MAX_TAGS} tags in one page`);
    // What is outside the grammar cannot be pulled by that name either.
    return tags.filter(isTag);
  }
  throw new UpstreamRefusedError(OP, `${shown(answer.url)} did not answer with a list of tags, {"tags": […]}`);
}

/**
 * The query of `Link: <…>; rel="next"` (RFC 8288). Nothing else of the address is taken: registries behind a proxy write hosts and paths that lead
 * nowhere, and a list must not lead us, with our credentials, to another host or repository.
 */
function nextQuery(link: string | undefined, asked: URL, path: string): string | undefined {
  const next = (link ?? '')
    .slice(0, 4 * MAX_QUERY_CHARACTERS)
    .split(/,\s*(?=<)/)
    .find((one) => /;\s*rel="?next"?\s*(?:;|$)/i.test(one));
  const [, target] = /^\s*<([^>]*)>/.exec(next ?? '') ?? [];
  if (target === undefined || !URL.canParse(target, asked.href)) return undefined;
  const { search } = new URL(target, asked);
  if (search.length > MAX_QUERY_CHARACTERS) throw refused(path, 'names a next page in too many words');
  return search === '' ? undefined : search;
}

async function unknownRepository(path: string, answer: Answer): Promise<CacheError> {
  const words = await registryWords(answer);
  return new CacheError(`${OP}: ${answer.url.host} has no repository ${path}${words}; check the name`, {
    code: 'NAME_UNKNOWN',
    op: OP,
    origin: 'upstream',
    retryable: false,
  });
}
