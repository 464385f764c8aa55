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
import { readBytes } from './stored-manifest.ts';

export interface ServedReferrers {
  readonly index: ReferrersIndex;
  readonly warning?: string;
}

/** A manifest, and the reference under which its list of referrers is recorded. */
interface Subject {
  readonly repository: Repository;
  readonly digest: Digest;
  /** Not a valid tag: the list has a row beside the tags of its repository. */
  readonly reference: Reference;
}

/**
 * What refers to a manifest: from the cache where that is fresh enough (`referrersTtl`: a signature may come later than its image), else from the registry.
 * Referrers are pulled like any other manifest. Nothing is written about an unknown subject: a manifest that no one pulled and nothing refers to.
 *
 * @param artifactType keeps only referrers of this type.
 * @throws CacheError where the registry cannot be asked, and nothing is known; BusyError where too many clients ask about unknown subjects.
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
  if (await isUnknownSubject(state, call, subject)) return { index: NO_REFERRERS };
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

/** Whether this process learned a while ago that nothing refers to a manifest that no one pulled. */
async function isUnknownSubject(state: Serving, call: ServeCall, subject: Subject): Promise<boolean> {
  const checkedMs = state.unknownSubjects.get(keyOf(subject));
  return checkedMs !== undefined && (await isFresh(state, call, subject, { index: NO_REFERRERS, checkedMs }));
}

/** Not too old, and not older than what the cache learned of a tag that belongs to the subject: its referrers may have been pushed since. */
async function isFresh(
  state: Serving,
  { signal }: ServeCall,
  { repository, digest }: Subject,
  { index, checkedMs }: Known,
): Promise<boolean> {
  const { settings, catalog } = state.deps;
  if (Date.now() - checkedMs >= settings.referrersTtlMs) return false;
  // The tag of the list itself, and cosign's tags of signatures, attestations and SBOMs begin with it.
  const prefix = referrersTag(digest);
  const list = state.tagLists.get(formatRepository(repository));
  // Only an empty list is outdated by such a tag: else each new list of tags would outdate it again.
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

/** Asks about a manifest that no one pulled without taking the lock: any client may ask, and the lock would leave a row. */
async function askFirst(
  state: Serving,
  call: ServeCall,
  subject: Subject,
  before: Pointer | undefined,
): Promise<ReferrersIndex> {
  const { catalog } = state.deps;
  const { repository, digest, reference } = subject;
  // Another caller may have asked since.
  if (await isUnknownSubject(state, call, subject)) return NO_REFERRERS;
  const { link } = await catalog.findContent(repository, digest, { consistent: true, signal: call.signal });
  if (link !== undefined) return await askAgain(state, call, subject);
  const askedMs = Date.now();
  try {
    const stored = await askAboutUnknown(state, call, subject, before);
    if (stored.list !== undefined) return await indexOf(state, call, subject, stored);
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error;
    // Another process recorded a list since: ours may be the older answer.
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
  const { subjectQuestions: permits } = state;
  using permit = permits.take();
  if (permit !== undefined) return await askRegistry(state, call, subject, before, undefined);
  throw new BusyError(
    'list referrers',
    `registries are already being asked about ${permits.most} manifests that no one pulled here; ask again in a moment`,
  );
}

/** Once for all processes, under the lock. */
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
    `${formatReference(reference)}: the list was stored and is lost again; ask again in a moment`,
  );
}
