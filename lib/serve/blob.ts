import type { BlobRow, Link } from '../catalog/catalog.ts';
import { sleep } from '../async/time.ts';
import {
  BlobUnknownError,
  CacheError,
  DeadlineError,
  FailedElsewhereError,
  JobUnavailableError,
  MOST_BLOBS_NAMED,
} from '../errors/cache-error.ts';
import type { PullFailure } from '../pull/failure.ts';
import { isEnded, type PullRecord } from '../jobs/pull-record.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import { startJobOf, startJobOfBlob } from './start-job.ts';
import { sizeOfBlob } from './blob-alone.ts';
import { blobIn, isForeign, manifestsNaming } from './blob-manifests.ts';
import { isGone } from './gone.ts';
import { redirectAllowed, redirectFor } from './blob-redirect.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** A blob that is there, and that the repository may serve. */
export interface ServedBlob {
  readonly digest: Digest;
  readonly size: number;
  /** It is not in the cache yet: its size is from a manifest, or from its registry. */
  readonly isMissing?: true;
}

const FIRST_POLL_MS = 200;
const POLLS_GROW_BY = 1.5;
const MAX_BETWEEN_POLLS_MS = 1_000;
/** Manifests that are pulled, one after the other, for one caller. */
const MOST_PULLS = 3;
/** Pulls of one manifest that succeed, and the blob is still not there. */
const MAX_FRUITLESS_PULLS = 1;

/** The blob, if it is there and this repository may serve it: one read of the catalogue, and a HEAD to the store where {@link isGone} asks for one. */
export async function findBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedBlob | undefined> {
  const { link, blob } = await findContent(state, call, repository, digest);
  if (link === undefined || !isPresent(blob) || (await isGone(state, call, digest))) return undefined;
  return { digest, size: blob.size };
}

const findContent = (
  { deps, share }: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<{ readonly link?: Link; readonly blob?: BlobRow }> =>
  share(`blob ${contentKey(repository, digest)}`, signal, (shared) =>
    deps.catalog.findContent(repository, digest, { consistent: false, signal: shared }),
  );

const isPresent = (blob: BlobRow | undefined): blob is BlobRow & { readonly size: number } =>
  blob?.state === 'present' && blob.size !== undefined;

/** Public content: a repository whose manifest names it may serve it before its pull links it (I9). */
const isPublic = ({ domains }: BlobRow): boolean => domains.has(PUBLIC);

/**
 * The size of a blob that a manifest of this repository names, or that its registry has, whether or not it is in the cache yet.
 *
 * @throws BlobUnknownError if there is neither; what {@link sizeOfBlob} throws.
 */
export async function describeBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedBlob> {
  const found = await findBlob(state, call, repository, digest);
  if (found !== undefined) return found;
  const manifests = await manifestsNaming(state, call, repository, digest);
  if (await isForeign(state, call, repository, digest, manifests)) throw notHeld(repository, digest);
  for (const manifest of manifests) {
    const blob = await blobIn(state, manifest, digest, call.signal);
    if (blob !== undefined) return { digest, size: blob.size, isMissing: true };
  }
  return { digest, size: await sizeOfBlob(state, call, repository, digest), isMissing: true };
}

/**
 * The blob as soon as it is stored; or a URL where the client can get it meanwhile (`serve.onBlobMiss`), unless the client `hasWaited` already; or undefined
 * when the time of this call is over. One job brings it for all callers; it has started before any client is redirected, and goes on when clients leave.
 *
 * A blob that no manifest of this repository names is pulled by itself, where its registry has it.
 *
 * @throws BlobUnknownError if the registry does not have it; BusyError if too many callers wait; FailedElsewhereError if the pull failed.
 */
export async function bringBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { hasWaited }: { readonly hasWaited: boolean },
): Promise<ServedBlob | URL | undefined> {
  const manifests = await manifestsNaming(state, call, repository, digest);
  if (await isForeign(state, call, repository, digest, manifests)) throw notHeld(repository, digest);
  const [first, ...others] = manifests
    .slice(0, MOST_PULLS)
    .map((manifest) => () => startJobOf(state, repository, manifest.digest, call.signal));
  const isNamed = first !== undefined;
  if (isNamed) {
    // Stored by a pull that still runs, or that failed for other content: no need to wait.
    const { blob } = await findContent(state, call, repository, digest);
    if (isPresent(blob) && isPublic(blob) && !(await isGone(state, call, digest))) return { digest, size: blob.size };
  }
  const starts = [first ?? (await jobOfBlob(state, call, repository, digest, hasWaited)), ...others] as const;
  const poll = blobPoller(state, call, repository, digest, { starts, isNamed });
  try {
    if (!hasWaited && redirectAllowed(state, repository)) {
      const elsewhere = (await poll()) ?? (await redirectFor(state, call, repository, digest));
      if (elsewhere !== undefined) return elsewhere;
    }
    await using _permit = await state.deps.waitingRoom.enter(call);
    return await awaitBlob(poll, call);
  } catch (error) {
    if (call.signal.aborted && call.signal.reason instanceof DeadlineError) return undefined;
    throw error;
  }
}

/** A job for the blob alone, once the registry has said that it has it. It is not asked again for a client that comes back. */
async function jobOfBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  isKnown: boolean,
): Promise<JobStart> {
  const blob = isKnown ? {} : { size: await sizeOfBlob(state, call, repository, digest) };
  return () => startJobOfBlob(state, repository, digest, blob, call.signal);
}

/** Polls until the blob is stored. */
async function awaitBlob(poll: () => Promise<ServedBlob | undefined>, { signal }: ServeCall): Promise<ServedBlob> {
  for (let delayMs = 0; ; delayMs = nextDelayMs(delayMs)) {
    if (delayMs > 0) await sleep(delayMs, signal);
    const blob = await poll();
    if (blob !== undefined) return blob;
  }
}

/**
 * Each poll answers with the blob once it is stored, and makes sure that a pull brings it: a pull of the first manifest that names the blob, and of the
 * next manifest if that one fails.
 */
function blobPoller(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { starts: [first, ...others], isNamed }: Naming,
): () => Promise<ServedBlob | undefined> {
  const { signal } = call;
  let start = first;
  let job: PullRecord | undefined;
  let fruitlessPulls = 0;
  let isUnconfirmed = false;
  return async () => {
    // A pull of the blob alone links it itself: the registry need not confirm it.
    const mayConfirm = !isUnconfirmed && (isNamed || job === undefined);
    // Read before the blob: once a pull has ended, what it brought is there.
    const seen = job === undefined || isEnded(job) ? job : await findRecord(state, job.id, signal);
    const key = `admit ${String(mayConfirm)} ${contentKey(repository, digest)}`;
    const blob = await state.share(key, signal, (shared) =>
      admit(state, { ...call, signal: shared }, repository, digest, { mayConfirm, isNamed }),
    );
    if (blob === 'unconfirmed') isUnconfirmed = true;
    else if (blob !== undefined) return blob;
    if (seen?.receipt?.skipped.some((one) => one.digest === digest) === true) throw notHeld(repository, digest);
    if (seen?.failure !== undefined && bringsOthers(seen.failure, digest)) {
      // The pull brought this blob, and it was lost since.
      if (++fruitlessPulls > MAX_FRUITLESS_PULLS) throw notBrought(digest, undefined);
      job = undefined;
    } else if (seen?.failure !== undefined) {
      const next = others.shift();
      if (next === undefined) throw notBrought(digest, seen.failure);
      [start, job, fruitlessPulls] = [next, undefined, 0];
    } else if (seen?.state === 'succeeded') {
      if (++fruitlessPulls > MAX_FRUITLESS_PULLS) throw notBrought(digest, undefined);
      // The pull found it in the catalogue, but it is lost.
      await state.deps.fetcher.markLost({ signal }, digest);
      job = undefined;
    }
    job ??= await startedJob(call, digest, start);
    return undefined;
  };
}

/** Starts or joins a pull that brings the blob. */
type JobStart = () => Promise<PullRecord>;

/** The pulls that can bring a blob, tried in order, and whether a manifest of the repository names it. */
interface Naming {
  readonly starts: readonly [JobStart, ...JobStart[]];
  readonly isNamed: boolean;
}

/** Undefined where it cannot be started now: the next poll tries again. */
async function startedJob({ logger }: ServeCall, digest: Digest, start: JobStart): Promise<PullRecord | undefined> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof JobUnavailableError)) throw error;
    logger.warn('a pull could not be started; the next poll tries again', { digest, reason: error.message });
    return undefined;
  }
}

const findRecord = ({ deps, share }: Serving, id: string, signal: AbortSignal): Promise<PullRecord | undefined> =>
  share(`record ${id}`, signal, (shared) => deps.records.find(id, shared));

const nextDelayMs = (delayMs: number): number =>
  delayMs === 0 ? FIRST_POLL_MS : Math.min(delayMs * POLLS_GROW_BY, MAX_BETWEEN_POLLS_MS);

/** The blob, if it is stored and this repository may serve it, also before the whole image is stored (I9). */
async function admit(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { mayConfirm, isNamed }: { readonly mayConfirm: boolean; readonly isNamed: boolean },
): Promise<ServedBlob | 'unconfirmed' | undefined> {
  const { catalog } = state.deps;
  const { signal } = call;
  const { link, blob } = await catalog.findContent(repository, digest, { consistent: true, signal });
  if (!isPresent(blob)) return undefined;
  const { size } = blob;
  if (link !== undefined || (isNamed && isPublic(blob))) return { digest, size };
  if (!mayConfirm) return undefined;
  // Without a confirmation the job fetches it as proof, and its publish links it: the registry is asked only once.
  return (await isConfirmed(state, call, repository, digest)) ? { digest, size } : 'unconfirmed';
}

/** A failure does not end the wait: the job may be about to link the blob. */
async function isConfirmed(state: Serving, call: ServeCall, repository: Repository, digest: Digest): Promise<boolean> {
  try {
    return await state.ask({ repository, kind: 'blobs', name: digest }, (fetcher) =>
      fetcher.confirm(call, repository, digest),
    );
  } catch (error) {
    call.signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    call.logger.info('the registry could not confirm a blob that is in the store', { digest, reason: error.message });
    return false;
  }
}

const notHeld = (repository: Repository, digest: Digest): BlobUnknownError =>
  new BlobUnknownError(
    `blob ${digest} is a foreign layer that the registry of ${formatRepository(repository)} does not hold; a client gets it from the urls of its descriptor`,
  );

/** The pull failed for other blobs, and brought this one. */
const bringsOthers = ({ blobs = [] }: PullFailure, digest: Digest): boolean =>
  blobs.length > 0 && blobs.length < MOST_BLOBS_NAMED && !blobs.some((one) => one.digest === digest);

/** With the reason for this blob, where the pull names one for each blob. */
function notBrought(digest: Digest, failure: PullFailure | undefined): FailedElsewhereError {
  const own = failure?.blobs?.find((one) => one.digest === digest) ?? failure;
  return new FailedElsewhereError(
    'wait for blob',
    `the pull of blob ${digest} ended without it: ${own?.message ?? 'it was lost again meanwhile'}`,
    own,
  );
}
