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
import { readBytes } from './stored-manifest.ts';
import { findPointer, resolutionOf, newResolutionOf } from './tag.ts';

/** A manifest or index, byte for byte as its registry gave it. */
export interface ServedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  /** Whether it was in the cache, or came from its registry for this request. */
  readonly cache: 'hit' | 'miss';
  /** The value of the header `Warning`, where it may not be the newest. */
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
 * The manifest of a tag or digest: from the cache, or the first time from its registry. The job that pulls its content has started when this returns, and goes
 * on if the client leaves. If the registry fails or does not answer in time, a tag is served stale where its policy allows it.
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
  const { resolution, found } = await findByTag(state, call, reference, pointer);
  // An image that is stored under another tag is not published under this one yet.
  const isPublished = found.link.landed === true && pointer?.published === resolution.digest;
  if (!isPublished) await startJobOfTag(state, call, reference, { ...found, checkedMs: resolution.checkedMs });
  // A miss, if the tag was not known to have this digest before this request.
  const isKnown = pointer?.published === resolution.digest || pointer?.resolved === resolution.digest;
  return served(isKnown ? found : { ...found, cache: 'miss' });
}

async function findByTag(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  pointer: Pointer | undefined,
): Promise<{ readonly resolution: TagResolution; readonly found: Found }> {
  const { repository } = reference;
  const startedMs = Date.now();
  let resolution = await resolutionOf(state, call, reference, pointer);
  let found = await findManifest(state, call, repository, resolution.digest);
  if (found !== undefined) return { resolution, found };
  // Another process may be about to store it.
  resolution = await newResolutionOf(state, call, reference, 0);
  found = await findManifest(state, call, repository, resolution.digest);
  if (found !== undefined) return { resolution, found };
  try {
    return { resolution, found: await fetchFound(state, call, repository, resolution.digest) };
  } catch (error) {
    if (!isOutdated(error)) throw error;
    // The registry resolved the tag to a manifest that it does not have (any more): ask it again, whatever the ttl.
    resolution = await newResolutionOf(state, call, reference, startedMs);
    found = await findManifest(state, call, repository, resolution.digest);
    if (found === undefined) throw error;
    return { resolution, found };
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

/** The first digest that is in the cache; the registry is not asked. If none is, throws `failure`: not having it does not mean that it does not exist (I6). */
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

/** The manifest, if the cache has it for this repository (I9). */
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
  // A manifest larger than the transport's limit is served by redirect to the store: the bytes in memory do not help.
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
  // A manifest of an unknown type needs no other content: no pull is started.
  const landed = isTyped(descriptor) ? {} : { landed: true };
  if (stored !== undefined) return { link: { ...descriptor, ...landed }, bytes: stored, cache: 'miss' };
  throw new ContentLostError('read manifest', `manifest ${digest} was stored and is lost again; ask again in a moment`);
}
