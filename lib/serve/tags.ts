import type { Repository } from '../reference/reference.ts';
import { UnknownNameError } from '../errors/cache-error.ts';
import { formatRepository } from '../reference/reference.ts';
import type { ServeCall } from './serve-deps.ts';
import type { Serving } from './serving.ts';

/** Of one answer, whatever is asked for. */
const MOST_TAGS = 1_000;
/** No tag is longer: what comes after the first so many characters comes after all of them. DynamoDB refuses keys above 1,024 bytes. */
const TAG_CHARACTERS = 128;

export interface TagPage {
  readonly tags: readonly string[];
  /** The last one, where more follow. */
  readonly next?: string;
}

/**
 * The tags that the cache holds of the repository, in their order; at most `limit` after `after`. The registry is not asked: what nobody pulled is not listed.
 *
 * @throws UnknownNameError if there is none at all.
 */
export async function listTags(
  { deps }: Serving,
  { signal }: ServeCall,
  repository: Repository,
  { limit = MOST_TAGS, after }: { readonly limit?: number | undefined; readonly after?: string | undefined },
): Promise<TagPage> {
  const most = Math.min(limit, MOST_TAGS);
  const tags: string[] = [];
  if (most === 0) return { tags };
  // An empty key is refused, too; everything comes after it.
  const key = after === '' ? undefined : after?.slice(0, TAG_CHARACTERS);
  for await (const tag of deps.catalog.tagsOf(repository, key, signal)) {
    if (tags.length === most) return { tags, next: tags[most - 1] ?? '' };
    tags.push(tag);
  }
  if (tags.length === 0 && after === undefined) {
    throw new UnknownNameError(`the cache holds no tag of ${formatRepository(repository)}; pull one first`);
  }
  return { tags };
}
