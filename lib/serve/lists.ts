import { CacheError, DeadlineError, UnknownNameError } from '../errors/cache-error.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import type { ServeCall, Serving } from './serving.ts';

/** Of one answer, also where a client asks for more. */
const MOST_TAGS = 1_000;
/** How long a list stays fresh: bots ask page by page, and for many repositories at once. */
const FRESH_MS = 10_000;

/** The tags of one repository, in the order in which pages give them. */
export interface TagList {
  readonly tags: readonly string[];
  /** When the registry was asked, epoch milliseconds. */
  readonly askedMs: number;
  /** The value of the header `Warning`, where the registry could not be asked. */
  readonly warning?: string;
}

export interface TagPage {
  readonly tags: readonly string[];
  /** The last one, where more follow. */
  readonly next?: string;
  readonly warning?: string;
}

/**
 * The tags of the repository, sorted; at most `limit` after `after`. They come from its registry, which is asked once for all callers within some seconds. If
 * it cannot be asked, the page has the tags in the cache, and a warning that they may not be all.
 *
 * @throws UnknownNameError where the registry has no such repository; the registry's error, where the cache has no tag of it.
 */
export async function listTags(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  { limit = MOST_TAGS, after }: { readonly limit?: number | undefined; readonly after?: string | undefined },
): Promise<TagPage> {
  const most = Math.min(limit, MOST_TAGS);
  if (most === 0) return { tags: [] };
  const { tags: all, warning } = await tagsOf(state, call, repository);
  const first = after === undefined ? 0 : all.findIndex((tag) => tag > after);
  const tags = first < 0 ? [] : all.slice(first, first + most);
  const next = tags.at(-1);
  return {
    tags,
    ...(next === undefined || next === all.at(-1) ? {} : { next }),
    ...(warning === undefined ? {} : { warning }),
  };
}

async function tagsOf(state: Serving, call: ServeCall, repository: Repository): Promise<TagList> {
  const name = formatRepository(repository);
  const known = state.tagLists.get(name);
  if (known !== undefined && Date.now() < known.askedMs + FRESH_MS) return known;
  return await state.share(`tags ${name}`, call.signal, async (signal) => {
    const list = await askForTags(state, { ...call, signal }, repository);
    state.tagLists.set(name, list);
    return list;
  });
}

async function askForTags(state: Serving, call: ServeCall, repository: Repository): Promise<TagList> {
  const askedMs = Date.now();
  try {
    const tags = await state.ask({ repository, kind: 'tags', name: '' }, (fetcher) =>
      fetcher.listTags(call, repository),
    );
    return { tags: [...tags].sort(), askedMs };
  } catch (error) {
    call.signal.throwIfAborted();
    if (!(error instanceof CacheError) || error instanceof DeadlineError) throw error;
    if (error.code === 'NAME_UNKNOWN')
      throw new UnknownNameError(`the registry has no repository ${formatRepository(repository)}`);
    const cached = await Array.fromAsync(state.deps.catalog.tagsOf(repository, undefined, call.signal));
    if (cached.length === 0) throw error;
    call.logger.warn('tags are listed without their registry', {
      repository: formatRepository(repository),
      reason: error.message,
    });
    return { tags: cached, askedMs, warning: '111 entrepot "Revalidation Failed"' };
  }
}

/** Of one answer, also where a client asks for more. */
const MOST_REPOSITORIES = 1_000;
/** Time for one page: it ends early where most repositories are hidden, or have no image any more. */
const PAGE_MS = 10_000;
/** Repositories that are read at the same time. */
const GROUP_SIZE = 16;

export interface RepositoryQuery {
  /** Only of this registry, and named without it; else of all registries, each as `<registry>/<path>`. */
  readonly registry?: string | undefined;
  readonly limit?: number | undefined;
  /** The name after which the page begins, in the same form. */
  readonly after?: string | undefined;
  readonly mayList: (repository: Repository) => boolean;
}

export interface RepositoryPage {
  readonly names: readonly string[];
  /** The last one, where more may follow. */
  readonly next?: string;
}

/** The repositories of which the cache has an image, by name, that `mayList` allows. No registry is asked. */
export async function listRepositories(
  { deps: { catalog } }: Serving,
  { signal }: ServeCall,
  { registry, limit = MOST_REPOSITORIES, after, mayList }: RepositoryQuery,
): Promise<RepositoryPage> {
  const most = Math.min(limit, MOST_REPOSITORIES);
  if (most === 0) return { names: [] };
  const startedMs = performance.now();
  const nameOf = (repository: Repository): string =>
    registry === undefined ? formatRepository(repository) : repository.path;
  const holdsImage = async (repository: Repository): Promise<boolean> => {
    for await (const _image of catalog.imagesOf(repository, undefined, signal)) return true;
    return false;
  };
  const names: string[] = [];
  let group: Repository[] = [];
  const takeGroup = async (): Promise<void> => {
    const held = await Promise.all(group.map(holdsImage));
    names.push(...group.filter((_, i) => held[i]).map(nameOf));
    group = [];
  };
  for await (const repository of catalog.repositories(startAfter(registry, after), signal)) {
    if (registry !== undefined && repository.registry !== registry) break;
    if (!mayList(repository)) continue;
    group.push(repository);
    if (group.length < GROUP_SIZE) continue;
    await takeGroup();
    if (names.length > most) break;
    if (performance.now() - startedMs > PAGE_MS) return { names, next: nameOf(repository) };
  }
  await takeGroup();
  const page = names.slice(0, most);
  const end = page.at(-1);
  return { names: page, ...(names.length > most && end !== undefined ? { next: end } : {}) };
}

/** A position in the order of names; not necessarily the name of a repository. */
function startAfter(registry: string | undefined, after: string | undefined): Repository | undefined {
  if (registry !== undefined) return { registry, path: after ?? '' };
  if (after === undefined) return undefined;
  const slash = after.indexOf('/');
  return slash < 0 ? { registry: after, path: '' } : { registry: after.slice(0, slash), path: after.slice(slash + 1) };
}
