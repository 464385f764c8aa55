import type { BlobRow, Link } from '../catalog/catalog.ts';
import { isTyped } from '../catalog/needs.ts';
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
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { namedBlobs, parseManifest, type Index, type Manifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import { startJobOf, startJobOfBlob } from './start-job.ts';
import { sizeOfBlob } from './blob-alone.ts';
import { isGone } from './gone.ts';
import { locationOf, sendsOn } from './blob-redirect.ts';
import { linksThatNeed } from './needed-by.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';
import { readBytes } from './manifest.ts';

/** A blob that is there, and that the repository may serve. */
export interface ServedBlob {
  readonly digest: Digest;
  readonly size: number;
  /** It is not here yet: its size is known from a manifest, or by its registry's word. */
  readonly isMissing?: true;
}

const FIRST_LOOK_MS = 200;
const LOOKS_GROW_BY = 1.5;
const MOST_BETWEEN_LOOKS_MS = 1_000;
/** Manifests of the repository that are looked at for one blob. */
const MOST_CHILDREN = 20;
/** Of them are pulled, one after the other, for one caller. */
const MOST_PULLS = 3;
/** Pulls that succeed without it. */
const MOST_VAIN = 1;

/** The blob, if it is there and this repository may serve it: one read of the catalogue, and a look at the store where a client may have missed it there. */
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

/** Anyone on the internet can have it: a repository whose manifest names it may serve it before its pull links it (I9). */
const isAnyones = ({ domains }: BlobRow): boolean => domains.has(PUBLIC);

/**
 * The size of a blob that a manifest of this repository names, or that its registry has, whether or not it is here yet.
 *
 * @throws BlobUnknownError if neither does; what {@link fetchBlobSize} throws.
 */
export async function describeBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedBlob> {
  const found = await findBlob(state, call, repository, digest);
  if (found !== undefined) return found;
  const children = await childrenOf(state, call, repository, digest);
  if (await isLacking(state, call, repository, digest, children)) throw notHeld(repository, digest);
  for (const child of children) {
    const blob = await blobIn(state, child, digest, call.signal);
    if (blob !== undefined) return { digest, size: blob.size, isMissing: true };
  }
  return { digest, size: await sizeOfBlob(state, call, repository, digest), isMissing: true };
}

/** The manifests that name it have landed without it, as a foreign layer: their registry was asked and does not hold it. */
async function isLacking(
  state: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
  children: readonly Link[],
): Promise<boolean> {
  if (children.length === 0 || !children.every(({ landed }) => landed === true)) return false;
  for (const child of children) {
    const content = await manifestOf(state, child, signal);
    if (content?.kind !== 'manifest' || !content.foreignLayers.some((layer) => layer.digest === digest)) return false;
  }
  return !(await state.deps.catalog.findLinks(repository, [digest], signal)).has(digest);
}

async function manifestOf(state: Serving, link: Link, signal: AbortSignal): Promise<Index | Manifest | undefined> {
  const bytes = await readBytes(state, link, signal);
  return bytes && parseManifest(bytes, link.mediaType, state.deps.limits);
}

async function blobIn(
  state: Serving,
  link: Link,
  digest: Digest,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const content = await manifestOf(state, link, signal);
  if (content === undefined) return undefined;
  // An index may list a blob itself.
  const named = content.kind === 'manifest' ? namedBlobs(content) : content.entries.filter((entry) => !isTyped(entry));
  return named.find((blob) => blob.digest === digest);
}

/**
 * The blob as soon as it has landed; or a URL where the client may get it meanwhile (`serve.onBlobMiss`), unless it `hasWaited` already; or undefined when the time
 * of this call is over and it is still on its way. One fill brings it for all who ask, has begun before anybody is sent on, and goes on when one of them leaves.
 *
 * What no manifest of this repository names is brought by itself, where its registry has it.
 *
 * @throws BlobUnknownError if it has not; BusyError if too many wait already; FailedElsewhereError if it does not come.
 */
export async function bringBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { hasWaited }: { readonly hasWaited: boolean },
): Promise<ServedBlob | URL | undefined> {
  const children = await childrenOf(state, call, repository, digest);
  if (await isLacking(state, call, repository, digest, children)) throw notHeld(repository, digest);
  const [first, ...others] = children
    .slice(0, MOST_PULLS)
    .map((child) => () => startJobOf(state, repository, child.digest, call.signal));
  const isNamed = first !== undefined;
  if (isNamed) {
    // Brought by a pull that goes on, or that failed by other content: without a permit of the waiting room.
    const { blob } = await findContent(state, call, repository, digest);
    if (isPresent(blob) && isAnyones(blob) && !(await isGone(state, call, digest))) return { digest, size: blob.size };
  }
  const starts = [first ?? (await jobOfBlob(state, call, repository, digest, hasWaited)), ...others] as const;
  const look = looksFor(state, call, repository, digest, { starts, isNamed });
  try {
    if (!hasWaited && sendsOn(state, repository)) {
      const elsewhere = (await look()) ?? (await locationOf(state, call, repository, digest));
      if (elsewhere !== undefined) return elsewhere;
    }
    await using _seat = await state.deps.waitingRoom.enter(call);
    return await comeIn(look, call);
  } catch (error) {
    if (call.signal.aborted && call.signal.reason instanceof DeadlineError) return undefined;
    throw error;
  }
}

/** A job of its own, once the registry has said that it has the blob: it is not asked again for who comes back. */
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

/** The waiting room: one look after the other until the blob has landed. */
async function comeIn(look: () => Promise<ServedBlob | undefined>, { signal }: ServeCall): Promise<ServedBlob> {
  for (let delayMs = 0; ; delayMs = nextDelayMs(delayMs)) {
    if (delayMs > 0) await sleep(delayMs, signal);
    const blob = await look();
    if (blob !== undefined) return blob;
  }
}

/**
 * Each look says whether the blob has landed, and makes sure that a pull brings it: of the first manifest that needs it or, where that pull fails, of the next one,
 * because the fault may be of that manifest alone.
 */
function looksFor(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { starts: [first, ...others], isNamed }: Naming,
): () => Promise<ServedBlob | undefined> {
  const { signal } = call;
  let start = first;
  let fill: PullRecord | undefined;
  let vain = 0;
  let isUnconfirmed = false;
  return async () => {
    // A pull of the blob alone links it as soon as it is there: the registry need not say once more that it has it.
    const mayConfirm = !isUnconfirmed && (isNamed || fill === undefined);
    // Before the look at the blob: what a pull brought is there when it has ended.
    const seen = fill === undefined || isEnded(fill) ? fill : await findRecord(state, fill.id, signal);
    const key = `come in ${String(mayConfirm)} ${contentKey(repository, digest)}`;
    const blob = await state.share(key, signal, (shared) =>
      admit(state, { ...call, signal: shared }, repository, digest, { mayConfirm, isNamed }),
    );
    if (blob === 'unconfirmed') isUnconfirmed = true;
    else if (blob !== undefined) return blob;
    if (seen?.receipt?.skipped.some((one) => one.digest === digest) === true) throw notHeld(repository, digest);
    if (seen?.failure !== undefined && bringsOthers(seen.failure, digest)) {
      // It came, and was lost since.
      if (++vain > MOST_VAIN) throw notBrought(digest, undefined);
      fill = undefined;
    } else if (seen?.failure !== undefined) {
      const next = others.shift();
      if (next === undefined) throw notBrought(digest, seen.failure);
      [start, fill, vain] = [next, undefined, 0];
    } else if (seen?.state === 'succeeded') {
      if (++vain > MOST_VAIN) throw notBrought(digest, undefined);
      // By the catalogue it was there; it was lost since.
      await state.deps.fetcher.markLost({ signal }, digest);
      fill = undefined;
    }
    fill ??= await startedJob(call, digest, start);
    return undefined;
  };
}

/** Starts or joins a pull that brings the blob. */
type JobStart = () => Promise<PullRecord>;

/** How a blob is brought, one way after the other, and whether a manifest of the repository names it. */
interface Naming {
  readonly starts: readonly [JobStart, ...JobStart[]];
  readonly isNamed: boolean;
}

/** Undefined where it cannot be started now: the next look tries again. */
async function startedJob({ logger }: ServeCall, digest: Digest, start: JobStart): Promise<PullRecord | undefined> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof JobUnavailableError)) throw error;
    logger.warn('a pull could not be started; the next look tries again', { digest, reason: error.message });
    return undefined;
  }
}

const findRecord = ({ deps, share }: Serving, id: string, signal: AbortSignal): Promise<PullRecord | undefined> =>
  share(`record ${id}`, signal, (shared) => deps.records.find(id, shared));

const nextDelayMs = (delayMs: number): number =>
  delayMs === 0 ? FIRST_LOOK_MS : Math.min(delayMs * LOOKS_GROW_BY, MOST_BETWEEN_LOOKS_MS);

/** The blob, if it has landed and a repository whose manifest names it may serve it, before the whole image has landed (I9). */
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
  if (link !== undefined || (isNamed && isAnyones(blob))) return { digest, size };
  if (!mayConfirm) return undefined;
  // Else the fill fetches it as proof, and its publish links it: the registry is not asked again and again.
  return (await isConfirmed(state, call, repository, digest)) ? { digest, size } : 'unconfirmed';
}

/** A registry that cannot say it now does not end the wait: the fill may be about to link the blob. */
async function isConfirmed(state: Serving, call: ServeCall, repository: Repository, digest: Digest): Promise<boolean> {
  try {
    return await state.ask({ repository, kind: 'blobs', name: digest }, (fetcher) =>
      fetcher.confirm(call, repository, digest),
    );
  } catch (error) {
    call.signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    call.logger.info('a blob that is there could not be confirmed', { digest, reason: error.message });
    return false;
  }
}

/** Manifests of this repository that need the blob, and indexes that list it. */
async function childrenOf(
  state: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<readonly Link[]> {
  const { deps, share } = state;
  const links = await share(`children ${contentKey(repository, digest)}`, signal, (shared) =>
    linksThatNeed(deps.catalog, repository, digest, shared),
  );
  const naming: Link[] = [];
  for (const link of links.slice(0, MOST_CHILDREN)) {
    if (!isIndexType(link.mediaType) || (await blobIn(state, link, digest, signal)) !== undefined) naming.push(link);
  }
  return naming;
}

const notHeld = (repository: Repository, digest: Digest): BlobUnknownError =>
  new BlobUnknownError(
    `blob ${digest} is a foreign layer that the registry of ${formatRepository(repository)} does not hold; a client gets it from the urls of its descriptor`,
  );

/** The pull failed by other blobs: this one it brought. */
const bringsOthers = ({ blobs = [] }: PullFailure, digest: Digest): boolean =>
  blobs.length > 0 && blobs.length < MOST_BLOBS_NAMED && !blobs.some((one) => one.digest === digest);

/** For the reason of this blob, where the pull has one for each. */
function notBrought(digest: Digest, failure: PullFailure | undefined): FailedElsewhereError {
  const own = failure?.blobs?.find((one) => one.digest === digest) ?? failure;
  return new FailedElsewhereError(
    'wait for blob',
    `the pull that should bring blob ${digest} ended without it: ${own?.message ?? 'it was lost again meanwhile'}`,
    own,
  );
}
