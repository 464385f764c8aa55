import type { Pointer } from '../catalog/catalog.ts';
import { BusyError, ContentLostError, LeaseLostError } from '../errors/cache-error.ts';
import { pullLeaseName } from '../table/keys.ts';
import { acquire, type Lease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import {
  NO_REFERRERS,
  NO_REFERRERS_DIGEST,
  parseReferrers,
  referrersIndex,
  referrersTag,
  type ReferrersIndex,
} from '../oci/referrers.ts';
import { formatReference, formatRepository, type Reference, type Repository } from '../reference/reference.ts';
import { staleOf } from './freshness.ts';
import { type StoredReferrers, referrersReference } from './fetcher.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';
import { readBytes } from './manifest.ts';

export interface ServedReferrers {
  readonly index: ReferrersIndex;
  readonly warning?: string;
}

/** A manifest, and where the list of what refers to it is known. */
interface Subject {
  readonly repository: Repository;
  readonly digest: Digest;
  /** No tag is called so: the list has a row beside the tags of its repository. */
  readonly reference: Reference;
}

/**
 * What refers to a manifest: by what the cache knows, where that is fresh enough (`referrersTtl`: a signature may come later than its image), else by the
 * registry. What it names is pulled like any other manifest. Nothing is written about a manifest that nobody pulled here and that nothing refers to.
 *
 * @param artifactType leaves only referrers of this type.
 * @throws CacheError where the registry could not say, and nothing is known; BusyError where too many ask about manifests that nobody pulled here.
 */
export async function openReferrers(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  artifactType: string | undefined,
): Promise<ServedReferrers> {
  const subject = { repository, digest, reference: referrersReference(repository, digest) };
  const served = await openAll(state, call, subject);
  if (artifactType === undefined) return served;
  const manifests = served.index.manifests.filter((one) => one.artifactType === artifactType);
  return { ...served, index: { ...served.index, manifests } };
}

async function openAll(state: Serving, call: ServeCall, subject: Subject): Promise<ServedReferrers> {
  const { reference } = subject;
  if (await isUnreferred(state, call, subject)) return { index: NO_REFERRERS };
  const { pointer: before, known } = await findKnown(state, call, reference);
  if (known !== undefined && (await isFresh(state, call, subject, known))) return { index: known.index };
  try {
    const index = await state.share(`referrers ${formatReference(reference)}`, call.signal, (signal) =>
      known === undefined
        ? askFirst(state, { ...call, signal }, subject, before)
        : askAgain(state, { ...call, signal }, subject),
    );
    return { index };
  } catch (error) {
    if (known === undefined) throw error;
    const pointer = { resolved: subject.digest, checkedMs: known.checkedMs, generation: 0 };
    const stale = staleOf(pointer, state.freshness(reference), error, Date.now());
    if (stale === undefined) throw error;
    return { index: known.index, warning: stale.warning };
  }
}

interface Known {
  readonly index: ReferrersIndex;
  readonly checkedMs: number;
}

const keyOf = ({ repository, digest }: Subject): string => contentKey(repository, digest);

/** This process learned a while ago that nothing refers to a manifest that nobody pulled here. */
async function isUnreferred(state: Serving, call: ServeCall, subject: Subject): Promise<boolean> {
  const checkedMs = state.unknownSubjects.get(keyOf(subject));
  return checkedMs !== undefined && (await isFresh(state, call, subject, { index: NO_REFERRERS, checkedMs }));
}

/** Not too old, and not older than a tag of the subject that somebody saw since: what was pushed with it may be missing. */
async function isFresh(
  state: Serving,
  { signal }: ServeCall,
  { repository, digest }: Subject,
  { index, checkedMs }: Known,
): Promise<boolean> {
  const { settings, catalog } = state.deps;
  if (Date.now() - checkedMs >= settings.referrersTtlMs) return false;
  // As the tag of the list itself is called, and as cosign calls signatures, attestations and SBOMs.
  const prefix = referrersTag(digest);
  const list = state.tagLists.get(formatRepository(repository));
  // Tags that are listed again and again, and have nothing to do with a list that has something, do not outdate it each time.
  const isEmpty = index.manifests.length === 0;
  if (isEmpty && list !== undefined && list.askedMs > checkedMs && list.tags.some((tag) => tag.startsWith(prefix)))
    return false;
  const tags = await catalog.findTagsWith(repository, prefix, signal);
  return !tags.some((tag) => (tag.published ?? tag.resolved) !== undefined && (tag.checkedMs ?? 0) > checkedMs);
}

async function findKnown(
  state: Serving,
  { signal }: ServeCall,
  reference: Reference,
): Promise<{ readonly pointer: Pointer | undefined; readonly known?: Known }> {
  const { catalog } = state.deps;
  const pointer = await catalog.findPointer(reference, { consistent: true, signal });
  if (pointer?.resolved === undefined || pointer.checkedMs === undefined) return { pointer };
  if (pointer.resolved === NO_REFERRERS_DIGEST)
    return { pointer, known: { index: NO_REFERRERS, checkedMs: pointer.checkedMs } };
  const { link } = await catalog.findContent(reference.repository, pointer.resolved, { consistent: true, signal });
  const bytes = link && (await readBytes(state, link, signal));
  if (bytes === undefined) return { pointer };
  return { pointer, known: { index: referrersIndex(parseReferrers(bytes)), checkedMs: pointer.checkedMs } };
}

/** Of a manifest that nobody pulled here anybody can ask: without the lock, so that no row stays where there is nothing to record. */
async function askFirst(
  state: Serving,
  call: ServeCall,
  subject: Subject,
  before: Pointer | undefined,
): Promise<ReferrersIndex> {
  const { catalog } = state.deps;
  const { repository, digest, reference } = subject;
  // Somebody may have asked between our look and our turn.
  if (await isUnreferred(state, call, subject)) return NO_REFERRERS;
  const { link } = await catalog.findContent(repository, digest, { consistent: true, signal: call.signal });
  if (link !== undefined) return await askAgain(state, call, subject);
  const askedMs = Date.now();
  try {
    const said = await askAboutUnknown(state, call, subject, before);
    if (said.list !== undefined) return await indexOf(state, call, subject, said);
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error;
    // What somebody else recorded since we looked is as good: ours may be the older answer.
    const { known } = await findKnown(state, call, reference);
    if (known === undefined) throw error;
    return known.index;
  }
  state.unknownSubjects.set(keyOf(subject), askedMs);
  return NO_REFERRERS;
}

async function askAboutUnknown(
  state: Serving,
  call: ServeCall,
  subject: Subject,
  before: Pointer | undefined,
): Promise<StoredReferrers> {
  const { subjectQuestions: seats } = state;
  using seat = seats.take();
  if (seat !== undefined) return await askRegistry(state, call, subject, before, undefined);
  throw new BusyError(
    'list referrers',
    `registries are asked about ${seats.most} manifests already that nobody pulled here; ask again in a moment`,
  );
}

/** Once for all who ask, in whichever process. */
async function askAgain(state: Serving, call: ServeCall, subject: Subject): Promise<ReferrersIndex> {
  const { reference } = subject;
  await using lock = await acquire(state.deps.leases, pullLeaseName(reference), call.signal);
  const locked = { ...call, signal: AbortSignal.any([call.signal, lock.signal]) };
  const { pointer, known } = await findKnown(state, locked, reference);
  if (known !== undefined && (await isFresh(state, locked, subject, known))) return known.index;
  return await indexOf(state, locked, subject, await askRegistry(state, locked, subject, pointer, lock));
}

const askRegistry = (
  state: Serving,
  call: ServeCall,
  { repository, digest }: Subject,
  before: Pointer | undefined,
  lock: Lease | undefined,
): Promise<StoredReferrers> =>
  state.ask({ repository, kind: 'referrers', name: digest }, (fetcher) =>
    fetcher.fetchReferrers(call, repository, digest, before?.resolutions, lock),
  );

async function indexOf(
  state: Serving,
  { signal }: ServeCall,
  { reference }: Subject,
  { list }: StoredReferrers,
): Promise<ReferrersIndex> {
  if (list === undefined) return NO_REFERRERS;
  state.remember(list);
  const bytes = list.bytes ?? (await readBytes(state, list.descriptor, signal));
  if (bytes !== undefined) return referrersIndex(parseReferrers(bytes));
  throw new ContentLostError(
    'list referrers',
    `${formatReference(reference)}: the list landed and is gone again; ask again in a moment`,
  );
}
