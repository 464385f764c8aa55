import type { Link } from '../catalog/catalog.ts';
import { CacheError } from '../errors/cache-error.ts';
import type { PullRecord } from '../fill/pull-record.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { selectEntries } from '../oci/select.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { formatReference, type Reference, type Repository } from '../reference/reference.ts';
import { requestKey } from '../fill/request-key.ts';
import { landByDigest } from './land-manifest.ts';
import { linksThatNeed } from './needed-by.ts';
import { readBytes } from './stored-manifest.ts';
import type { ServeCall } from './serve-deps.ts';
import { contentKey, type Serving } from './serving.ts';

const WHOLE = { platforms: [], alwaysPull: false, attestations: true } as const;
/** Roots of one manifest that are looked at. */
const MOST_ROOTS = 20;
/** Manifests that one request brings beside the one that is asked for. */
const MOST_LANDED = 10;

/** Starts the pull, or joins it: one call for all who ask at the same moment. */
const startFill = (state: Serving, request: PullRequest, signal: AbortSignal): Promise<PullRecord> =>
  state.share(`fill ${requestKey(request)}`, signal, (shared) => state.deps.fills.start(request, shared));

/**
 * Lets the content of what a tag means come in: of a single manifest all of it, of an index the configured platforms that it has. What a client asks for
 * beyond them comes with {@link fillOfManifest}.
 */
export async function fillOfTag(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  { link, bytes, checkedMs }: { readonly link: Descriptor; readonly bytes: Uint8Array; readonly checkedMs: number },
): Promise<void> {
  const resolvedSinceMs = checkedMs;
  if (!isIndexType(link.mediaType)) {
    const whole = { ...WHOLE, reference, resolvedSinceMs };
    await quietly(call, reference, () => startFill(state, whole, call.signal));
    return;
  }
  const configured = state.deps.defaultPlatforms(reference.repository.registry);
  const { selected, missing } = selectEntries(entriesOf(state, link, bytes), configured);
  const platforms = configured.filter((platform) => !missing.includes(platform));
  if (platforms.length === 0) return;
  await landQuietly(state, call, reference.repository, selected);
  const wanted = { ...WHOLE, reference, platforms, resolvedSinceMs };
  await quietly(call, reference, () => startFill(state, wanted, call.signal));
}

/**
 * Brings the manifests that the pull is about to read: a client that has the index asks for one of them at once, and their registry would be asked twice.
 * What does not come now, the pull brings, or says why.
 */
async function landQuietly(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  entries: readonly IndexEntry[],
): Promise<void> {
  const digests = [...new Set(entries.filter(({ mediaType }) => !isIndexType(mediaType)).map(({ digest }) => digest))];
  const links = await state.deps.catalog.findLinks(repository, digests, call.signal);
  const missing = digests.filter((digest) => !links.has(digest)).slice(0, MOST_LANDED);
  await Promise.allSettled(missing.map((digest) => landByDigest(state, call, repository, digest)));
}

/** The same for a manifest that a client asks for by digest. */
export async function fillOfManifest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  manifest: Descriptor,
): Promise<void> {
  if (isIndexType(manifest.mediaType)) return;
  await quietly(call, { repository, digest: manifest.digest }, () =>
    startFillOf(state, repository, manifest.digest, call.signal),
  );
}

/** Starts the pull of {@link requestFor}, or joins it: one look, and one call, for all who ask at the same moment. */
export const startFillOf = (
  state: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<PullRecord> =>
  state.share(`fill of ${contentKey(repository, digest)}`, signal, async (shared) =>
    startFill(state, await requestFor(state, repository, digest, shared), shared),
  );

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
