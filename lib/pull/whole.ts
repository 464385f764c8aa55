import type { Found, FoundRoot } from '../catalog/catalog.ts';
import type { Completeness, Roots } from '../catalog/ports.ts';
import { bareEntries, isTyped } from '../catalog/needs.ts';
import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import type { Reference } from '../reference/reference.ts';
import type { ContentStore } from '../store/content-store.ts';
import { coverage, type Wanted } from './coverage.ts';
import type { PullLimits } from './pull-request.ts';
import { reconcile, type ReconcileDeps } from './reconcile.ts';

export interface StoredContentsDeps {
  readonly store: ContentStore;
  readonly limits: Pick<PullLimits, 'manifestBytes' | 'fanOut'>;
}

/**
 * The configs and layers of a manifest in the store; none for an index. Undefined if the manifest itself is
 * gone. Without a type in its entry, its bytes decide what it is.
 */
export async function storedContents(
  { store, limits }: StoredContentsDeps,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<Descriptor[] | undefined> {
  if (isIndexType(entry.mediaType)) return [];
  try {
    const bytes = await store.read(entry, limits.manifestBytes, signal);
    const manifest = parseManifest(bytes, isTyped(entry) ? entry.mediaType : undefined, limits);
    return manifest.kind === 'manifest' ? blobsOf(manifest) : [];
  } catch (error) {
    if (error instanceof ContentLostError) return undefined;
    throw error;
  }
}

interface WholeDeps {
  readonly catalog: Completeness;
}

/**
 * The root with its completeness worked out from rows, for linked `entries` that are not remembered as
 * complete: content was lost since, here or elsewhere. Reads nothing if all are remembered. With `remember`,
 * writes what it finds.
 */
export async function withRows<T extends Partial<FoundRoot>>(
  { catalog }: WholeDeps,
  found: T,
  entries: readonly Digest[],
  options: { remember: boolean; signal: AbortSignal },
): Promise<T> {
  const { root, linked } = found;
  if (root === undefined || linked === undefined) return found;
  const open = [...new Set(entries)].filter((digest) => linked.has(digest) && !root.complete.has(digest));
  if (open.length === 0) return found;
  const whole = await catalog.findWhole(root.digest, open, { ...options, bare: bareEntries(root) });
  return { ...found, root: { ...root, complete: new Set([...root.complete, ...whole]) } };
}

/** The root, its wanted entries, and their foreign layers: everything whose completeness counts for the request. */
export function wantedOf(found: Partial<FoundRoot>, wanted: Wanted): readonly Descriptor[] {
  const { root } = found;
  if (root === undefined) return [];
  const entries = coverage(found, wanted).entries.map(({ entry }) => entry);
  const wantedDigests = new Set(digestsOf(entries));
  return [root, ...entries, ...root.foreign.filter((layer) => wantedDigests.has(layer.entry))];
}

const digestsOf = (all: readonly Descriptor[]): Digest[] => all.map(({ digest }) => digest);

/** The reference in the catalogue, by rows if need be. At most four reads, and one for each hundred blobs. */
export async function findKnown(
  deps: { readonly catalog: Roots & Completeness },
  reference: Reference,
  wanted: Wanted,
  options: { consistent: boolean; remember: boolean; signal: AbortSignal },
): Promise<Found> {
  const found = await deps.catalog.find(reference, options);
  return await withRows(deps, found, digestsOf(wantedOf(found, wanted)), options);
}

/**
 * The same with consistent reads; first records lost content that is in the store again. Sends no request to
 * the registry.
 */
export async function findRestored(
  deps: StoredContentsDeps & ReconcileDeps & { readonly catalog: Roots & Completeness },
  reference: Reference,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<Found> {
  const found = await findKnown(deps, reference, wanted, { consistent: true, remember: true, signal });
  const { root, linked } = found;
  if (root === undefined || linked === undefined) return found;
  const lost = wantedOf(found, wanted).filter(({ digest }) => linked.has(digest) && !root.complete.has(digest));
  if (lost.length === 0) return found;
  await adoptRestored(deps, lost, bareEntries(root), signal);
  return await withRows(deps, found, digestsOf(lost), { remember: true, signal });
}

/** Asks the store for manifests, and blobs of theirs, that are not present by their rows. */
async function adoptRestored(
  deps: StoredContentsDeps & ReconcileDeps & { readonly catalog: Completeness },
  manifests: readonly Descriptor[],
  bare: ReadonlyMap<Digest, unknown>,
  signal: AbortSignal,
): Promise<void> {
  const contents = new Map<Digest, Descriptor>();
  const needs = new Map<Digest, Digest[]>();
  for (const manifest of manifests) {
    const isBare = bare.has(manifest.digest);
    const blobs = isBare ? [] : await storedContents(deps, manifest, signal);
    if (blobs === undefined) continue; // Gone from the store: its blobs are known when it is read again.
    if (!isBare) needs.set(manifest.digest, digestsOf(blobs));
    for (const one of [manifest, ...blobs]) contents.set(one.digest, one);
  }
  await deps.catalog.writeContents(needs, signal);
  const rows = await deps.catalog.findBlobs([...contents.keys()], signal);
  const open = [...contents.values()].filter(({ digest }) => rows.get(digest)?.state !== 'present');
  await reconcile(deps, open, { adopt: true, signal });
}
