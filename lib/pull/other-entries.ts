import type { Link } from '../catalog/catalog.ts';
import { isTyped } from '../catalog/needs.ts';
import {
  CacheError,
  DeniedError,
  InvalidManifestError,
  ManifestUnknownError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { InlineContent } from '../oci/manifest.ts';
import { isManifestOrIndexType, OCTET_STREAM } from '../oci/media-type.ts';
import type { Upstream } from '../registry/upstream.ts';
import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import type { PullDeps } from './pull-request.ts';
import { readManifest, type HeldManifest } from './read-manifest.ts';

const PARALLEL_ENTRIES = 6;

/** What the registry has under the digest of an entry without a manifest type. */
export type Other = HeldManifest | 'blob';

/** The registry does not have the manifest, or its bytes are not a usable manifest. A later try does not help. */
export type UnusableError = ManifestUnknownError | InvalidManifestError;

export const isUnusable = (error: unknown): error is UnusableError =>
  error instanceof ManifestUnknownError || error instanceof InvalidManifestError;

/**
 * Whether the link is to a manifest; a repository has links to blobs, too. `landed` is set for manifests
 * alone, also those of an unknown type.
 */
export const isManifestLink = ({ mediaType, landed }: Pick<Link, 'mediaType' | 'landed'>): boolean =>
  isManifestOrIndexType(mediaType) || landed === true;

/**
 * Finds out what entries of an index are whose type is not a manifest or index type (BuildKit's cache lists
 * layers; others omit `mediaType`): the registry decides. An entry without a type is requested as a manifest
 * first, any other as a blob; after 404, the other way. What is not a manifest counts as a blob; the copy
 * shows whether the registry has it at all.
 *
 * @throws InvalidManifestError if a manifest among them is broken, or all of them do not fit in memory
 * together.
 */
export async function readOthers(
  deps: PullDeps,
  upstream: Upstream,
  entries: readonly IndexEntry[],
  mostBytes: number,
  signal: AbortSignal,
  inline: InlineContent = new Map(),
): Promise<ReadonlyMap<Digest, Other>> {
  const distinct = [...new Map(entries.map((entry) => [entry.digest, entry])).values()];
  if (distinct.length === 0) return new Map();
  const digests = distinct.map(({ digest }) => digest);
  const links = await deps.catalog.findLinks(upstream.repository, digests, signal);
  const permits = newPermits(PARALLEL_ENTRIES);
  let heldBytes = 0;
  const found = await allOrFirstFailure(distinct, signal, (entry, stop) =>
    permits.run(async () => {
      stop.throwIfAborted();
      const other = await readOther(deps, upstream, entry, links.get(entry.digest), inline.get(entry.digest), stop);
      if (other === undefined) return undefined;
      heldBytes += other === 'blob' ? 0 : entry.size;
      if (heldBytes <= mostBytes) return [entry.digest, other] as const;
      throw new InvalidManifestError(
        `manifests that an index lists without their type have more than ${mostBytes} bytes together`,
      );
    }),
  );
  return new Map(found.filter((one) => one !== undefined));
}

async function readOther(
  deps: PullDeps,
  upstream: Upstream,
  entry: IndexEntry,
  link: Link | undefined,
  inline: Uint8Array | undefined,
  signal: AbortSignal,
): Promise<Other | undefined> {
  const { digest, mediaType, size } = entry;
  // Decided before, when a manifest or index led to it. A blob that a client requested by its digest alone
  // may be a manifest, too.
  if (link !== undefined && !isManifestLink(link) && link.neededBy !== undefined) return 'blob';
  const linked = link !== undefined && isManifestLink(link) ? link : undefined;
  if (size > deps.limits.manifestBytes) return 'blob';
  if (
    linked === undefined &&
    inline === undefined &&
    mediaType !== OCTET_STREAM &&
    (await isBlob(upstream, entry, signal))
  )
    return 'blob';
  try {
    return await readManifest(deps, upstream, { digest, parent: entry, linked, inline, anyType: true }, signal);
  } catch (error) {
    signal.throwIfAborted();
    // An attestation is always a manifest: it is gone, or broken.
    if (isUnusable(error) && entry.attests !== undefined) return undefined;
    // Some registries refuse a request for a manifest of that type (400, 406, …): request the blob instead.
    if (error instanceof ManifestUnknownError || error instanceof UpstreamRefusedError) return 'blob';
    // Some registries fail when a layer is requested as a manifest. With a type of its own, and there as a blob, it is a blob.
    const mayBeBlob = isOfUpstream(error) && mediaType !== OCTET_STREAM;
    if (mayBeBlob && (await opensAsBlob(upstream, entry, signal))) return 'blob';
    throw error;
  }
}

/** Asks by HEAD. An error counts as no: then the manifest is requested, and at last the blob itself. */
async function isBlob(upstream: Upstream, entry: IndexEntry, signal: AbortSignal): Promise<boolean> {
  try {
    return await upstream.hasBlob(entry, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    return false;
  }
}

/** The registry failed or refused. After a rate limit, nothing else is requested. */
const isOfUpstream = (error: unknown): boolean =>
  error instanceof UpstreamUnavailableError || error instanceof DeniedError;

/** Asks by GET, without reading the body. */
async function opensAsBlob(upstream: Upstream, entry: IndexEntry, signal: AbortSignal): Promise<boolean> {
  try {
    const bytes = await upstream.openBlob(entry, 0, signal);
    await bytes[Symbol.asyncIterator]().return?.();
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    return false;
  }
}

/** The entries whose kind the registry must decide. */
export const othersAmong = (entries: readonly IndexEntry[]): IndexEntry[] =>
  entries.filter((one) => !isTyped(one) && one.fault === undefined);
