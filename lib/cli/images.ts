import type { CachedReference, Catalog, Root } from '../catalog/catalog.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isImageEntry, platformName } from '../oci/select.ts';
import { formatReference } from '../reference/reference.ts';
import { EXIT, formatBytes, printable, tableLines, type ExitCode, type Output } from './output.ts';
import { shortDigest } from './progress.ts';

/** One image of the cache, as `entrepot images --json` shows it. */
export interface ImageRow {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string | null;
  /** Those whose content is all in the cache. */
  readonly platforms: readonly string[];
  /** Bytes of the distinct manifests and blobs that are complete; null where the catalogue lost the root. */
  readonly size: number | null;
  /** When the registry was last asked what the reference means (ISO 8601). */
  readonly checked: string | null;
}

/** Lists everything that was published. JSON comes row by row as it is found. */
export async function listImages(catalog: Catalog, output: Output, signal: AbortSignal): Promise<ExitCode> {
  const rows: ImageRow[] = [];
  for await (const image of catalog.images(signal)) {
    const row = imageRow(image);
    if (row === undefined) continue;
    if (output.isJson) output.result(row, []);
    else rows.push(row);
  }
  if (output.isJson) return EXIT.done;
  if (rows.length === 0) output.note('The cache is empty. Fill it with: entrepot pull REFERENCE');
  else output.result(rows, imageLines(rows));
  return EXIT.done;
}

function imageRow({ reference, pointer, root, linked }: CachedReference): ImageRow | undefined {
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
    size: root === undefined ? null : contentBytes(root, complete),
    checked: pointer.checkedMs === undefined ? null : new Date(pointer.checkedMs).toISOString(),
  };
}

/** Each manifest, config and layer once; from the catalogue alone. */
function contentBytes(root: Root, complete: readonly IndexEntry[]): number {
  const sizes = new Map<string, number>([[root.digest, root.size]]);
  for (const entry of complete) {
    sizes.set(entry.digest, entry.size);
    for (const { id, size } of root.contents.get(entry.digest) ?? []) sizes.set(id, size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function imageLines(rows: readonly ImageRow[]): string[] {
  return tableLines(
    ['REFERENCE', 'DIGEST', 'PLATFORMS', 'SIZE', 'CHECKED'],
    rows.map((row) => [
      row.reference,
      shortDigest(row.digest),
      row.platforms.map(printable).join(', ') || 'none complete',
      row.size === null ? 'unknown' : formatBytes(row.size),
      row.checked ?? 'never',
    ]),
  );
}
