import { formatRepository, type Repository } from '../reference/reference.ts';
import type { ServeCall } from './serve-deps.ts';
import type { Serving } from './serving.ts';

/** Of one answer, whatever is asked for. */
const MOST_REPOSITORIES = 1_000;
/** Where most repositories may not be seen, or have no image any more, a page ends early rather than late. */
const PAGE_MS = 10_000;
/** Repositories that are looked at together. */
const TOGETHER = 16;

export interface RepositoryQuery {
  /** Of this registry alone, and then without its name; else of all, each as `<registry>/<path>`. */
  readonly registry?: string | undefined;
  readonly limit?: number | undefined;
  /** The name after which the page begins, as such a page has it. */
  readonly after?: string | undefined;
  readonly mayList: (repository: Repository) => boolean;
}

export interface RepositoryPage {
  readonly names: readonly string[];
  /** The last one, where more may follow. */
  readonly next?: string;
}

/** The repositories of which the cache holds an image, in the order of their names, as far as `mayList` lets them be seen. No registry is asked. */
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
    if (group.length < TOGETHER) continue;
    await takeGroup();
    if (names.length > most) break;
    if (performance.now() - startedMs > PAGE_MS) return { names, next: nameOf(repository) };
  }
  await takeGroup();
  const page = names.slice(0, most);
  const end = page.at(-1);
  return { names: page, ...(names.length > most && end !== undefined ? { next: end } : {}) };
}

/** A place between the names of repositories: what stands there need not be one. */
function startAfter(registry: string | undefined, after: string | undefined): Repository | undefined {
  if (registry !== undefined) return { registry, path: after ?? '' };
  if (after === undefined) return undefined;
  const slash = after.indexOf('/');
  return slash < 0 ? { registry: after, path: '' } : { registry: after.slice(0, slash), path: after.slice(slash + 1) };
}
