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
import { readBytes } from './stored-manifest.ts';
import type { ServeCall } from './serve-deps.ts';
import type { Serving } from './serving.ts';

const WHOLE = { platforms: [], alwaysPull: false, attestations: true } as const;
/** Roots of one manifest that are looked at. */
const MOST_ROOTS = 20;

/** Starts the pull, or joins it: one call for all who ask at the same moment. */
export const startFill = (state: Serving, request: PullRequest, signal: AbortSignal): Promise<PullRecord> =>
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
    await startQuietly(state, call, { ...WHOLE, reference, resolvedSinceMs });
    return;
  }
  const configured = state.deps.defaultPlatforms(reference.repository.registry);
  const { missing } = selectEntries(entriesOf(state, link, bytes), configured);
  const platforms = configured.filter((platform) => !missing.includes(platform));
  if (platforms.length > 0) await startQuietly(state, call, { ...WHOLE, reference, platforms, resolvedSinceMs });
}

/** The same for a manifest that a client asks for by digest. */
export async function fillOfManifest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  manifest: Descriptor,
): Promise<void> {
  if (isIndexType(manifest.mediaType)) return;
  await startQuietly(state, call, await requestFor(state, repository, manifest.digest, call.signal));
}

/** A client gets its manifest although its blobs cannot be ordered now: whoever asks for one of them tries again. */
async function startQuietly(state: Serving, call: ServeCall, request: PullRequest): Promise<void> {
  try {
    await startFill(state, request, call.signal);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    call.logger.warn('a pull could not be started; a blob that is asked for tries again', {
      reference: formatReference(request.reference),
      reason: `${error.name}: ${error.message}`,
    });
  }
}

/**
 * The pull that brings the content of a manifest: as its platform of the index that a tag led to, so that the tag is published with it; else by its own digest.
 */
export async function requestFor(
  state: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<PullRequest> {
  const { catalog } = state.deps;
  const own: PullRequest = { ...WHOLE, reference: { repository, digest } };
  const uses = await catalog.findUses(digest, signal);
  const roots = [...new Set(uses.filter(({ child, root }) => child === digest && root !== digest).map((u) => u.root))];
  if (roots.length === 0) return own;
  const links = await catalog.findLinks(repository, roots.slice(0, MOST_ROOTS), signal);
  for (const root of links.values()) {
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
