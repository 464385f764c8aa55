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
import { readBytes } from './stored-manifest.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

const WHOLE = { platforms: [], alwaysPull: false, attestations: true } as const;
/** How long a pull that failed for good is not tried again. */
const FAILED_STANDS_MS = 60_000;
/** Indexes that are read for one manifest. */
const MOST_ROOTS = 20;
/** Other manifests that one request fetches besides its own. */
const MOST_FETCHED = 10;

/**
 * Starts the pull, or joins it: one call for all concurrent callers. A pull that failed for good a moment ago is not tried again for every client: its record
 * is the answer.
 */
const startJob = (state: Serving, request: PullRequest, signal: AbortSignal): Promise<PullRecord> =>
  state.share(`job ${requestKey(request)}`, signal, async (shared) => {
    const { records, jobs } = state.deps;
    const failed = await records.findFailed(request, shared);
    return failed !== undefined && standsFor(failed, request) ? failed : await jobs.start(request, shared);
  });

function standsFor({ failure, askedMs, endedMs = 0 }: PullRecord, { resolvedSinceMs = 0 }: PullRequest): boolean {
  // Not if the tag was resolved again since: that is another pull.
  return failure?.retryable === false && Date.now() - endedMs < FAILED_STANDS_MS && resolvedSinceMs <= askedMs;
}

/**
 * Starts the pull of a tag: a single manifest whole, an index for the configured platforms that it has. Other platforms are pulled by
 * {@link startJobOfManifest} when a client asks for them.
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

/** The configured platforms that the index has; where none are configured, those that another tag brought already, so that this tag is published with them. */
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
  // A platform that cannot be pulled does not stop the others.
  const isReadable = (platform: Platform): boolean =>
    selectEntries(entries, [platform]).selected.every(
      ({ fault, attests }) => fault === undefined || attests !== undefined,
    );
  const platforms = configured.filter((platform) => !missing.includes(platform) && isReadable(platform));
  if (platforms.length > 0) await fetchQuietly(state, call, repository, selectEntries(entries, platforms).selected);
  return platforms;
}

/**
 * Fetches the manifests that the pull is about to read: a client that has the index asks for one of them at once, and the registry would be asked twice.
 * Failures are ignored here: the pull fetches what is missing, and reports why it cannot.
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

/** Starts the pull of a manifest that a client asks for by digest. */
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

/** Starts the pull of {@link requestFor}, or joins it: once for all concurrent callers. */
export const startJobOf = (
  state: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<PullRecord> =>
  state.share(`job of ${contentKey(repository, digest)}`, signal, async (shared) =>
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

/** A client gets its manifest although the pull cannot be started now: a request for a blob tries again. */
async function quietly(call: ServeCall, reference: Reference, start: () => Promise<unknown>): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    call.logger.warn('a pull could not be started; the next request for a blob tries again', {
      reference: formatReference(reference),
      reason: `${error.name}: ${error.message}`,
    });
  }
}

/**
 * The pull that brings the content of a manifest: that platform of the index under the tag that led to it, so that the tag is published; else its own digest.
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
