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

/** What the registry has under the digest of an entry that does not say what it is. */
export type Other = HeldManifest | 'blob';

/** Its registry does not have the manifest, or its bytes, which are what its digest says, are none that can be used. No later try mends that. */
export type UnusableError = ManifestUnknownError | InvalidManifestError;

export const isUnusable = (error: unknown): error is UnusableError =>
  error instanceof ManifestUnknownError || error instanceof InvalidManifestError;

/** A repository is linked to its blobs, too. One of a type that nobody knows is a manifest where it landed as one. */
export const isManifestLink = ({ mediaType, landed }: Pick<Link, 'mediaType' | 'landed'>): boolean =>
  isManifestOrIndexType(mediaType) || landed === true;

/**
 * Entries of an index that do not say that they are manifests or indexes (BuildKit's cache lists layers; others leave `mediaType` out): each is what the registry gives.
 * One without a type is asked for as a manifest first, any other as a blob; 404 leads to the other. What is no manifest is a blob: whether the registry has it at all is
 * found out when it is copied.
 *
 * @throws InvalidManifestError where a manifest among them is broken, or all of them are too large to be held in memory together.
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
  // A manifest or index led to it, and it was asked about then. What a client asked for by its digest alone is only known to be a blob, too.
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
    // An attestation is a manifest, whatever its entry leaves out: it is gone, or broken.
    if (isUnusable(error) && entry.attests !== undefined) return undefined;
    // One that does not want to be asked for such a manifest (400, 406, …) tells more where it is asked for the blob.
    if (error instanceof ManifestUnknownError || error instanceof UpstreamRefusedError) return 'blob';
    // Some break where they are asked for a layer as a manifest. What has a type of its own, and is there as a blob, is one.
    const mayBeBlob = isOfUpstream(error) && mediaType !== OCTET_STREAM;
    if (mayBeBlob && (await opensAsBlob(upstream, entry, signal))) return 'blob';
    throw error;
  }
}

/** Confirmed by HEAD. A registry that does not answer it well is asked for a manifest, and for the blob itself in the end. */
async function isBlob(upstream: Upstream, entry: IndexEntry, signal: AbortSignal): Promise<boolean> {
  try {
    return await upstream.hasBlob(entry, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    return false;
  }
}

/** Of what the registry answered; one that limits us is not asked for more. */
const isOfUpstream = (error: unknown): boolean =>
  error instanceof UpstreamUnavailableError || error instanceof DeniedError;

/** By GET, of which no byte is read here. */
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

/** Those of the entries that have to be asked about. */
export const othersAmong = (entries: readonly IndexEntry[]): IndexEntry[] =>
  entries.filter((one) => !isTyped(one) && one.fault === undefined);
