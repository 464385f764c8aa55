import type { Catalog, Found } from '../catalog/catalog.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference } from '../reference/reference.ts';
import { coverage, type Wanted } from './coverage.ts';
import { storedContents, type StoredContentsDeps } from './stored-contents.ts';

export type RestoreDeps = StoredContentsDeps & { readonly catalog: Catalog };

/**
 * What the cache knows of the reference, consistently, after content that was found to be lost and is back has been taken into account: whichever pull brought
 * it back, the other images that use it are complete again. No request goes to the registry.
 */
export async function findRestored(
  deps: RestoreDeps,
  reference: Reference,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<Found> {
  const found = await deps.catalog.find(reference, { consistent: true, signal });
  const lapsed = lapsedEntries(found, wanted);
  if (found.root === undefined || lapsed.length === 0) return found;

  // Read before the rows are: what is found to be lost from here on refuses the write.
  const epoch = await deps.catalog.readEpoch(signal);
  const whole: Digest[] = [];
  for (const entry of lapsed) if (await isWhole(deps, entry, signal)) whole.push(entry.digest);
  if (whole.length === 0 || !(await deps.catalog.recomplete(found.root.digest, whole, epoch, signal))) return found;
  return deps.catalog.find(reference, { consistent: true, signal });
}

/** Wanted entries, and the root, that this repository had complete, and that lost something since. */
function lapsedEntries(found: Found, wanted: Wanted): Descriptor[] {
  const { root, linked } = found;
  if (root === undefined || linked === undefined) return [];
  const entries = [root, ...coverage(found, wanted).entries.map(({ entry }) => entry)];
  const lapsed = entries.filter(({ digest }) => linked.has(digest) && !root.complete.has(digest));
  return [...new Map(lapsed.map((entry) => [entry.digest, entry])).values()];
}

/** Whether the catalogue says of the manifest and all its blobs that they are present. */
async function isWhole(deps: RestoreDeps, entry: Descriptor, signal: AbortSignal): Promise<boolean> {
  const blobs = await storedContents(deps, entry, signal);
  if (blobs === undefined) return false;
  const digests = [entry.digest, ...blobs.map((blob) => blob.digest)];
  const rows = await deps.catalog.findBlobs(digests, signal);
  return digests.every((digest) => rows.get(digest)?.state === 'present');
}
