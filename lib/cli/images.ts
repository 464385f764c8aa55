import type { CachedReference, Catalog } from '../catalog/catalog.ts';
import { ContentLostError } from '../errors/cache-error.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { isImageEntry, platformName } from '../oci/select.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import { formatReference } from '../reference/reference.ts';
import type { ContentStore } from '../store/content-store.ts';
import { EXIT, formatBytes, printable, tableLines, type ExitCode, type Output } from './output.ts';
import { shortDigest } from './progress.ts';

export interface ImagesDeps {
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly limits: PullLimits;
}

/** One image of the cache, as `entrepot images --json` shows it. */
export interface ImageRow {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string | null;
  /** Those whose content is all in the cache. */
  readonly platforms: readonly string[];
  /** Bytes of the distinct manifests and blobs that are complete; null where a manifest is lost (`entrepot validate --deep` tells more). */
  readonly size: number | null;
  /** When the registry was last asked what the reference means (ISO 8601). */
  readonly checked: string | null;
}

/** Lists everything that was published. JSON comes row by row as it is found. */
export async function listImages(deps: ImagesDeps, output: Output, signal: AbortSignal): Promise<ExitCode> {
  const rows: ImageRow[] = [];
  for await (const image of deps.catalog.images(signal)) {
    const row = await imageRow(deps, image, signal);
    if (row === undefined) continue;
    if (output.isJson) output.result(row, []);
    else rows.push(row);
  }
  if (output.isJson) return EXIT.done;
  if (rows.length === 0) output.note('The cache is empty. Fill it with: entrepot pull REFERENCE');
  else output.result(rows, imageLines(rows));
  return EXIT.done;
}

async function imageRow(
  deps: ImagesDeps,
  { reference, pointer, root, linked }: CachedReference,
  signal: AbortSignal,
): Promise<ImageRow | undefined> {
  const digest = pointer.published;
  if (digest === undefined) return undefined; // Resolved, but never finished: not an image of the cache yet.
  const complete = (root?.entries ?? []).filter(
    (entry) => (root?.complete.has(entry.digest) ?? false) && (linked?.has(entry.digest) ?? false),
  );
  return {
    reference: formatReference(reference),
    digest,
    mediaType: root?.mediaType ?? null,
    platforms: [...new Set(complete.filter(isImageEntry).map(platformName))],
    size: root === undefined ? null : await contentBytes(deps, [root, ...complete], signal).catch(nullIfLost),
    checked: pointer.checkedMs === undefined ? null : new Date(pointer.checkedMs).toISOString(),
  };
}

/** The catalogue knows sizes of manifests; those of blobs are written in the manifests themselves. */
async function contentBytes(
  { store, limits }: ImagesDeps,
  manifests: readonly IndexEntry[],
  signal: AbortSignal,
): Promise<number> {
  const sizes = new Map<Digest, number>();
  for (const entry of manifests) {
    if (sizes.has(entry.digest)) continue;
    sizes.set(entry.digest, entry.size);
    if (isIndexType(entry.mediaType)) continue;
    const manifest = parseManifest(await store.read(entry, limits.manifestBytes, signal), entry.mediaType, limits);
    if (manifest.kind === 'index') continue;
    for (const blob of blobsOf(manifest)) sizes.set(blob.digest, blob.size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function nullIfLost(error: unknown): null {
  if (error instanceof ContentLostError) return null;
  throw error;
}

function imageLines(rows: readonly ImageRow[]): string[] {
  return tableLines(
    ['REFERENCE', 'DIGEST', 'PLATFORMS', 'SIZE', 'CHECKED'],
    rows.map((row) => [
      row.reference,
      shortDigest(row.digest),
      row.platforms.map(printable).join(', '),
      row.size === null ? 'unknown' : formatBytes(row.size),
      row.checked ?? 'never',
    ]),
  );
}
