import type { Link } from '../catalog/catalog.ts';
import { CacheError } from '../errors/cache-error.ts';
import { type PullRecord, requestKey } from '../jobs/pull-record.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parseManifest } from '../oci/manifest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import type { Platform } from '../oci/platform.ts';
import { selectEntries } from '../oci/select.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { formatReference, type Reference, type Repository } from '../reference/reference.ts';
import { fetchByDigest } from './fetcher.ts';
import { linksThatNeed } from './needed-by.ts';
import { readBytes } from './manifest.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

const WHOLE = { platforms: [], alwaysPull: false, attestations: true } as const;
/** So long a pull that no retry mends is not tried again. */
const FAILED_STANDS_MS = 60_000;
/** Roots of one manifest that are looked at. */
const MOST_ROOTS = 20;
/** Manifests that one request brings beside the one that is asked for. */
const MOST_FETCHED = 10;

/**
 * Starts the pull, or joins it: one call for all who ask at the same moment. One that failed a moment ago, and that no retry mends, is not tried again for
 * every client: then its failure is the answer.
 */
const startJob = (state: Serving, request: PullRequest, signal: AbortSignal): Promise<PullRecord> =>
  state.share(`fill ${requestKey(request)}`, signal, async (shared) => {
    const { records, jobs } = state.deps;
    const failed = await records.findFailed(request, shared);
    return failed !== undefined && standsFor(failed, request) ? failed : await jobs.start(request, shared);
  });

function standsFor({ failure, askedMs, endedMs = 0 }: PullRecord, { resolvedSinceMs = 0 }: PullRequest): boolean {
  // What the tag was found to mean since then is another question.
  return failure?.retryable === false && Date.now() - endedMs < FAILED_STANDS_MS && resolvedSinceMs <= askedMs;
}

/**
 * Lets the content of what a tag means come in: of a single manifest all of it, of an index the configured platforms that it has. What a client asks for
 * beyond them comes with {@link startJobOfManifest}.
 */
export async function startJobOfTag(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  { link, bytes, checkedMs }: { readonly link: Descriptor; readonly bytes: Uint8Array; readonly checkedMs: number },
): Promise<void> {
  const resolvedSinceMs = checkedMs;
  if (!isIndexType(link.mediaType)) {
    const whole = { ...WHOLE, reference, resolvedSinceMs };
    await quietly(call, reference, () => startJob(state, whole, call.signal));
    return;
  }
  await quietly(call, reference, async () => {
    const platforms = await platformsToPull(state, call, reference.repository, link, bytes);
    if (platforms.length > 0) await startJob(state, { ...WHOLE, reference, platforms, resolvedSinceMs }, call.signal);
  });
}

/** The configured ones that it has; where none are configured, those that are there already, for another tag: so that this one is published with them. */
async function platformsToPull(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  index: Descriptor,
  bytes: Uint8Array,
): Promise<readonly Platform[]> {
  const { defaultPlatforms, catalog } = state.deps;
  const configured = defaultPlatforms(repository.registry);
  if (configured.length === 0) {
    const { root, linked } = await catalog.findRoot(repository, index.digest, call.signal);
    const there = root?.entries.filter(({ digest }) => linked?.has(digest) === true) ?? [];
    return there.flatMap(({ platform, attests }) =>
      platform === undefined || attests !== undefined ? [] : [platform],
    );
  }
  const entries = entriesOf(state, index, bytes);
  const { missing } = selectEntries(entries, configured);
  // A platform that cannot be pulled stops none of the others.
  const isReadable = (platform: Platform): boolean =>
    selectEntries(entries, [platform]).selected.every(
      ({ fault, attests }) => fault === undefined || attests !== undefined,
    );
  const platforms = configured.filter((platform) => !missing.includes(platform) && isReadable(platform));
  if (platforms.length > 0) await fetchQuietly(state, call, repository, selectEntries(entries, platforms).selected);
  return platforms;
}

/**
 * Brings the manifests that the pull is about to read: a client that has the index asks for one of them at once, and their registry would be asked twice.
 * What does not come now, the pull brings, or says why.
 */
async function fetchQuietly(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  entries: readonly IndexEntry[],
): Promise<void> {
  const wanted = entries.filter(({ mediaType, fault }) => isManifestType(mediaType) && fault === undefined);
  const digests = [...new Set(wanted.map(({ digest }) => digest))];
  const links = await state.deps.catalog.findLinks(repository, digests, call.signal);
  const missing = digests.filter((digest) => !links.has(digest)).slice(0, MOST_FETCHED);
  const outcomes = await Promise.allSettled(missing.map((digest) => fetchByDigest(state, call, repository, digest)));
  for (const one of outcomes) {
    if (one.status === 'rejected' && !(one.reason instanceof CacheError)) throw one.reason;
  }
}

/** The same for a manifest that a client asks for by digest. */
export async function startJobOfManifest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  manifest: Descriptor,
): Promise<void> {
  if (isIndexType(manifest.mediaType)) return;
  await quietly(call, { repository, digest: manifest.digest }, () =>
    startJobOf(state, repository, manifest.digest, call.signal),
  );
}

/** Starts the pull of {@link requestFor}, or joins it: one look, and one call, for all who ask at the same moment. */
export const startJobOf = (
  state: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<PullRecord> =>
  state.share(`fill of ${contentKey(repository, digest)}`, signal, async (shared) =>
    startJob(state, await requestFor(state, repository, digest, shared), shared),
  );

/** Starts the pull of a blob by itself, or joins it. */
export const startJobOfBlob = (
  state: Serving,
  repository: Repository,
  digest: Digest,
  blob: NonNullable<PullRequest['blob']>,
  signal: AbortSignal,
): Promise<PullRecord> => startJob(state, { ...WHOLE, reference: { repository, digest }, blob }, signal);

/** A client gets its manifest although its blobs cannot be ordered now: whoever asks for one of them tries again. */
async function quietly(call: ServeCall, reference: Reference, start: () => Promise<unknown>): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    call.logger.warn('a pull could not be started; a blob that is asked for tries again', {
      reference: formatReference(reference),
      reason: `${error.name}: ${error.message}`,
    });
  }
}

/**
 * The pull that brings the content of a manifest: as its platform of the index that a tag led to, so that the tag is published with it; else by its own digest.
 */
async function requestFor(
  state: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<PullRequest> {
  const { catalog } = state.deps;
  const own: PullRequest = { ...WHOLE, reference: { repository, digest } };
  const roots = await linksThatNeed(catalog, repository, digest, signal);
  for (const root of roots.slice(0, MOST_ROOTS)) {
    const entry = await entryIn(state, root, digest, signal);
    if (entry?.platform === undefined) continue;
    const platforms = [entry.platform];
    const { via } = root;
    const pointer =
      via === undefined
        ? undefined
        : await catalog.findPointer({ repository, tag: via }, { consistent: false, signal });
    if (via !== undefined && pointer?.resolved === root.digest && pointer.checkedMs !== undefined) {
      return { ...WHOLE, reference: { repository, tag: via }, platforms, resolvedSinceMs: pointer.checkedMs };
    }
    return { ...WHOLE, reference: { repository, digest: root.digest }, platforms };
  }
  return own;
}

async function entryIn(
  state: Serving,
  root: Link,
  digest: Digest,
  signal: AbortSignal,
): Promise<IndexEntry | undefined> {
  if (!isIndexType(root.mediaType)) return undefined;
  const bytes = await readBytes(state, root, signal);
  return bytes && entriesOf(state, root, bytes).find((entry) => entry.digest === digest && entry.attests === undefined);
}

function entriesOf({ deps }: Serving, { mediaType }: Descriptor, bytes: Uint8Array): readonly IndexEntry[] {
  const content = parseManifest(bytes, mediaType, deps.limits);
  return content.kind === 'index' ? content.entries : [];
}
