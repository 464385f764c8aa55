import type { Repository } from '../../reference/reference.ts';
import { listRepositories, listTags, type RepositoryQuery } from '../../serve/lists.ts';
import type { ServeCall, Serving } from '../../serve/serving.ts';
import { HttpError } from '../problem.ts';
import type { RegistryAnswer, RegistryRequest } from './open-registry.ts';

/** The repositories in the cache that the principal may see: https://distribution.github.io/distribution/spec/api/#listing-repositories */
export async function catalogAnswer(
  serving: Serving,
  call: ServeCall,
  request: RegistryRequest,
  query: URLSearchParams,
  seen: Pick<RepositoryQuery, 'registry' | 'mayList'>,
): Promise<RegistryAnswer> {
  const { names: repositories, next } = await listRepositories(serving, call, { ...seen, ...pageOf(query) });
  return pageAnswer(request, query, { repositories }, next);
}

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
export async function tagsAnswer(
  serving: Serving,
  call: ServeCall,
  request: RegistryRequest,
  query: URLSearchParams,
  repository: Repository,
): Promise<RegistryAnswer> {
  const { tags, next, warning } = await listTags(serving, call, repository, pageOf(query));
  const name = request.path.replace(/^\/v2\//, '').replace(/\/tags\/list$/, '');
  return pageAnswer(request, query, { name, tags }, next, warning);
}

/** The requested page of a list. @throws HttpError 400 */
function pageOf(query: URLSearchParams): { readonly limit?: number; readonly after?: string } {
  const n = query.get('n');
  const last = query.get('last');
  if (n !== null && !/^\d+$/.test(n)) {
    throw new HttpError(400, '"n" must be a number in digits', { code: 'UNSUPPORTED' });
  }
  return { ...(n === null ? {} : { limit: Number(n) }), ...(last === null ? {} : { after: last }) };
}

/** One page, and a `Link` to the next, which keeps the rest of the query. */
function pageAnswer(
  request: RegistryRequest,
  query: URLSearchParams,
  page: unknown,
  next: string | undefined,
  warning?: string,
): RegistryAnswer {
  const following = new URLSearchParams(query);
  if (next !== undefined) following.set('last', next);
  return {
    status: 200,
    headers: {
      'content-type': 'application/json',
      ...(warning === undefined ? {} : { warning }),
      ...(next === undefined ? {} : { link: `<${request.path}?${following.toString()}>; rel="next"` }),
    },
    body: Buffer.from(JSON.stringify(page)),
  };
}
