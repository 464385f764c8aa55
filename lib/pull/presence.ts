import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import type { BlobRow } from '../catalog/catalog.ts';
import { InvalidManifestError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import type { PullDeps } from './pull-request.ts';
import type { BlobSource } from './read-manifest.ts';

/** Requests to the registry at the same time. */
const PARALLEL_QUESTIONS = 8;

/**
 * Whether a blob in the store may be used for this repository (I9): it is public; or the same credential
 * brought it from some repository, and this repository confirms that it has it, too. Knowing its digest is
 * not enough.
 */
export async function mayUse(
  row: BlobRow,
  blob: Descriptor,
  upstream: BlobSource,
  signal: AbortSignal,
): Promise<boolean> {
  if (row.domains.has(PUBLIC)) return true;
  return row.domains.has(upstream.domain) && (await upstream.hasBlob(blob, signal));
}

/** @throws InvalidManifestError if the manifest states a wrong size for the blob. */
export function checkSize(blob: Descriptor, row: BlobRow | undefined): void {
  if (row?.state !== 'present' || row.size === undefined || row.size === blob.size) return;
  throw new InvalidManifestError(
    `the manifest says that blob ${blob.digest} has ${blob.size} bytes, but the content of that digest in the cache has ${row.size}`,
  );
}

/**
 * Splits `blobs` into those that the cache has for this repository, and those that must be fetched: to store
 * them, or as proof.
 */
export async function findMissing(
  deps: PullDeps,
  upstream: BlobSource,
  blobs: readonly Descriptor[],
  signal: AbortSignal,
): Promise<{ present: Descriptor[]; missing: Descriptor[] }> {
  const digests = blobs.map((blob) => blob.digest);
  const { links, blobs: rows } = await deps.catalog.findContents(upstream.repository, digests, signal);
  const permits = newPermits(PARALLEL_QUESTIONS);
  const there = await allOrFirstFailure(blobs, signal, async (blob, stop) => {
    const row = rows.get(blob.digest);
    checkSize(blob, row);
    if (row?.state !== 'present') return false;
    return links.has(blob.digest) || permits.run(() => mayUse(row, blob, upstream, stop));
  });
  return { present: blobs.filter((_, i) => there[i]), missing: blobs.filter((_, i) => !there[i]) };
}
