import { startDeadline } from '../async/time.ts';
import type { Link, Pointer } from '../catalog/catalog.ts';
import { isTyped } from '../catalog/needs.ts';
import {
  ContentLostError,
  ContentMismatchError,
  DeadlineError,
  FailedElsewhereError,
  InvalidManifestError,
  ManifestUnknownError,
} from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isManifestLink } from '../pull/other-entries.ts';
import { formatReference, type Reference, type Repository } from '../reference/reference.ts';
import { fetchByDigest, type TagResolution } from './fetcher.ts';
import { type Stale, staleOf } from './freshness.ts';
import { isGone } from './gone.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';
import { startJobOfManifest, startJobOfTag } from './start-job.ts';
import { findPointer, resolutionOf, newResolutionOf } from './tag.ts';

/** The bytes of a manifest that a repository may serve, from memory or the store. Undefined where the store lost it: that is recorded. */
export async function readBytes(
  state: Serving,
  manifest: Descriptor,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const { manifests, deps } = state;
  const cached = manifests.get(manifest.digest);
  if (cached !== undefined) return cached;
  try {
    const bytes = await state.share(`read ${manifest.digest}`, signal, (shared) =>
      deps.store.read(manifest, deps.limits.manifestBytes, shared),
    );
    manifests.set(manifest.digest, bytes);
    return bytes;
  } catch (error) {
    if (!(error instanceof ContentLostError)) throw error;
    await deps.fetcher.markLost({ signal }, manifest.digest);
    return undefined;
  }
}

/** A manifest or index, byte for byte as its registry gave it. */
export interface ServedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  /** Whether it was here, or came from its registry for this request. */
  readonly cache: 'hit' | 'miss';
  /** Of the header `Warning`, where it may not be the newest. */
  readonly warning?: string;
}

/** A manifest that this repository may serve. */
interface Found {
  readonly link: Link;
  readonly bytes: Uint8Array;
  readonly cache: 'hit' | 'miss';
}

const TOO_LATE = new DeadlineError('the registry did not answer in time');

/**
 * The manifest of a tag or digest: from the cache, or from its registry at the first time. The content it needs is on its way when this returns, whether or
 * not the client stays. Where the registry fails, or does not answer in time, a tag is what its policy lets it be instead.
 *
 * @throws ManifestUnknownError; what {@link resolutionOf} throws.
 */
export async function openManifest(state: Serving, call: ServeCall, reference: Reference): Promise<ServedManifest> {
  const { repository, digest } = reference;
  if (digest !== undefined) return await openByDigest(state, call, repository, digest);
  const pointer = await findPointer(state, reference, false, call.signal);
  const insteadOf = (failure: unknown): Stale | undefined =>
    staleOf(pointer, state.freshness(reference), failure, Date.now());
  try {
    if (insteadOf(TOO_LATE) === undefined) return await openByTag(state, call, reference, pointer);
    using soon = startDeadline(state.patience.staleAfterMs);
    const signal = AbortSignal.any([call.signal, soon.signal]);
    return await openByTag(state, { ...call, signal }, reference, pointer);
  } catch (failure) {
    const stale = insteadOf(failure);
    if (stale === undefined) throw failure;
    call.logger.warn('a tag is served without its registry', {
      reference: formatReference(reference),
      reason: failure instanceof Error ? `${failure.name}: ${failure.message}` : 'unknown',
    });
    return await openStale(state, call, repository, stale, failure);
  }
}

async function openByTag(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  pointer: Pointer | undefined,
): Promise<ServedManifest> {
  const { meaning, found } = await findByTag(state, call, reference, pointer);
  // What landed under another name of the same digest is not published under this one yet.
  const isPublished = found.link.landed === true && pointer?.published === meaning.digest;
  if (!isPublished) await startJobOfTag(state, call, reference, { ...found, checkedMs: meaning.checkedMs });
  // What its tag was not known to mean before came for this request, whoever read it in.
  const isKnown = pointer?.published === meaning.digest || pointer?.resolved === meaning.digest;
  return served(isKnown ? found : { ...found, cache: 'miss' });
}

async function findByTag(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  pointer: Pointer | undefined,
): Promise<{ readonly meaning: TagResolution; readonly found: Found }> {
  const { repository } = reference;
  const startedMs = Date.now();
  let meaning = await resolutionOf(state, call, reference, pointer);
  let found = await findManifest(state, call, repository, meaning.digest);
  if (found !== undefined) return { meaning, found };
  // Somebody may be about to land what the registry said a moment ago.
  meaning = await newResolutionOf(state, call, reference, 0);
  found = await findManifest(state, call, repository, meaning.digest);
  if (found !== undefined) return { meaning, found };
  try {
    return { meaning, found: await fetchFound(state, call, repository, meaning.digest) };
  } catch (error) {
    if (!isOutdated(error)) throw error;
    // It said so, but does not have it (any more): then what it said is not believed for its time.
    meaning = await newResolutionOf(state, call, reference, startedMs);
    found = await findManifest(state, call, repository, meaning.digest);
    if (found === undefined) throw error;
    return { meaning, found };
  }
}

const isOutdated = (error: unknown): boolean =>
  error instanceof ManifestUnknownError ||
  error instanceof ContentMismatchError ||
  error instanceof InvalidManifestError ||
  (error instanceof FailedElsewhereError && !error.retryable);

async function openByDigest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedManifest> {
  const found =
    (await findManifest(state, call, repository, digest)) ?? (await fetchFound(state, call, repository, digest));
  if (found.link.landed !== true) await startJobOfManifest(state, call, repository, found.link);
  return served(found);
}

/** The first of them that is here; nothing is asked of the registry. Where none is, `failure` is the answer: it may not mean that there is none (I6). */
async function openStale(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  { digests, warning }: Stale,
  failure: unknown,
): Promise<ServedManifest> {
  for (const digest of digests) {
    const found = await findManifest(state, call, repository, digest);
    if (found !== undefined) return { ...served(found), warning };
  }
  throw failure;
}

const served = ({ link, bytes, cache }: Found): ServedManifest => ({
  descriptor: { mediaType: link.mediaType, digest: link.digest, size: bytes.byteLength },
  bytes,
  cache,
});

/** What the cache has of it for this repository (I9). */
async function findManifest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<Found | undefined> {
  const { signal } = call;
  const key = contentKey(repository, digest);
  const link = state.links.get(key) ?? (await findLink(state, key, repository, digest, signal));
  if (link === undefined || !isManifestLink(link)) return undefined;
  // One that is larger than the door carries: what is in memory is no help to a client that is sent to the store.
  if (await isGone(state, call, digest)) state.manifests.delete(digest);
  const bytes = await readBytes(state, link, signal);
  return bytes && { link, bytes, cache: 'hit' };
}

const findLink = (
  { deps, links, share }: Serving,
  key: string,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<Link | undefined> =>
  share(`link ${key}`, signal, async (shared) => {
    const { link } = await deps.catalog.findContent(repository, digest, { consistent: true, signal: shared });
    if (link?.landed === true) links.set(key, link);
    return link;
  });

async function fetchFound(state: Serving, call: ServeCall, repository: Repository, digest: Digest): Promise<Found> {
  const { descriptor, bytes } = await fetchByDigest(state, call, repository, digest);
  const stored = bytes ?? (await readBytes(state, descriptor, call.signal));
  // Of a type that nobody knows it is all that there is: no pull brings more.
  const landed = isTyped(descriptor) ? {} : { landed: true };
  if (stored !== undefined) return { link: { ...descriptor, ...landed }, bytes: stored, cache: 'miss' };
  throw new ContentLostError('read manifest', `manifest ${digest} landed and is gone again; ask again in a moment`);
}
