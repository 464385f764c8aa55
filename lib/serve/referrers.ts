import { ContentLostError } from '../errors/cache-error.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import { acquire } from '../lock/acquire.ts';
import type { Digest } from '../oci/digest.ts';
import { parseReferrers, referrersIndex, type ReferrersIndex } from '../oci/referrers.ts';
import { formatReference, type Reference, type Repository } from '../reference/reference.ts';
import { staleOf } from './freshness.ts';
import type { ServeCall } from './serve-deps.ts';
import type { Serving } from './serving.ts';
import { readBytes } from './stored-manifest.ts';

export interface ServedReferrers {
  readonly index: ReferrersIndex;
  readonly warning?: string;
}

/** No tag is called so: what refers to a manifest has a row beside the tags of its repository. */
export const referrersOf = (repository: Repository, subject: Digest): Reference => ({
  repository,
  tag: `referrers:${subject}`,
});

/**
 * What refers to a manifest: by what the cache knows, where that is fresh enough (`referrersTtl`: a signature may come later than its image), else by the
 * registry. What it names is pulled like any other manifest.
 *
 * @param artifactType leaves only referrers of this type.
 * @throws CacheError where the registry could not say, and nothing is known.
 */
export async function openReferrers(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  subject: Digest,
  artifactType: string | undefined,
): Promise<ServedReferrers> {
  const reference = referrersOf(repository, subject);
  const known = await findKnown(state, call, reference);
  const isFresh = known !== undefined && Date.now() - known.checkedMs < state.deps.settings.referrersTtlMs;
  const served = isFresh ? { index: known.index } : await refreshed(state, call, reference, subject, known);
  if (artifactType === undefined) return served;
  const manifests = served.index.manifests.filter((one) => one.artifactType === artifactType);
  return { ...served, index: { ...served.index, manifests } };
}

interface Known {
  readonly index: ReferrersIndex;
  readonly checkedMs: number;
}

async function findKnown(state: Serving, { signal }: ServeCall, reference: Reference): Promise<Known | undefined> {
  const { catalog } = state.deps;
  const pointer = await catalog.findPointer(reference, { consistent: true, signal });
  if (pointer?.resolved === undefined || pointer.checkedMs === undefined) return undefined;
  const { link } = await catalog.findContent(reference.repository, pointer.resolved, { consistent: true, signal });
  const bytes = link && (await readBytes(state, link, signal));
  return bytes && { index: referrersIndex(parseReferrers(bytes)), checkedMs: pointer.checkedMs };
}

async function refreshed(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  subject: Digest,
  before: Known | undefined,
): Promise<ServedReferrers> {
  try {
    const key = `referrers ${formatReference(reference)}`;
    return {
      index: await state.share(key, call.signal, (signal) => refresh(state, { ...call, signal }, reference, subject)),
    };
  } catch (error) {
    if (before === undefined) throw error;
    const pointer = { resolved: subject, checkedMs: before.checkedMs, generation: 0 };
    const stale = staleOf(pointer, state.freshness(reference), error, Date.now());
    if (stale === undefined) throw error;
    return { index: before.index, warning: stale.warning };
  }
}

/** Once for all who ask, in whichever process. */
async function refresh(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  subject: Digest,
): Promise<ReferrersIndex> {
  const { repository } = reference;
  const { deps } = state;
  await using lock = await acquire(deps.leases, pullLeaseName(reference), call.signal);
  const signal = AbortSignal.any([call.signal, lock.signal]);
  const now = await findKnown(state, { ...call, signal }, reference);
  if (now !== undefined && Date.now() - now.checkedMs < deps.settings.referrersTtlMs) return now.index;
  await state.ask(repository, (landing) => landing.landReferrers({ ...call, signal }, repository, subject, lock));
  const landed = await findKnown(state, { ...call, signal }, reference);
  if (landed !== undefined) return landed.index;
  throw new ContentLostError(
    'read referrers',
    `what refers to ${subject} landed and is gone again; ask again in a moment`,
  );
}
