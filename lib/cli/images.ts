import type { CachedReference } from '../catalog/catalog.ts';
import type { Images } from '../catalog/ports.ts';
import type { Digest } from '../oci/digest.ts';
import { isImageEntry, platformName } from '../oci/select.ts';
import { allImages, heldBytes, heldEntries } from '../images/images.ts';
import { formatReference } from '../reference/reference.ts';
import { EXIT, formatBytes, printable, tableLines, type ExitCode, type Output } from './output.ts';
import { ownCommand } from './hints.ts';
import { shortDigest } from './progress.ts';

/** One image of the cache, as `entrepot images --json` shows it. */
export interface ImageRow {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string | null;
  /** Those that are complete in the cache. */
  readonly platforms: readonly string[];
  /** Bytes of the distinct manifests and blobs that are complete; null where the catalogue lost the root. */
  readonly size: number | null;
  /** When the reference was last resolved at the registry (ISO 8601). */
  readonly checked: string | null;
}

/** Lists all published images. JSON is printed row by row; for an empty cache a note names it as `cache`. */
export async function imageRows(
  catalog: Images,
  cache: string,
  output: Output,
  signal: AbortSignal,
): Promise<ExitCode> {
  const rows: ImageRow[] = [];
  for await (const image of allImages(catalog, signal)) {
    const row = imageRow(image);
    if (row === undefined) continue;
    if (output.isJson) output.result(row, []);
    else rows.push(row);
  }
  if (output.isJson) return EXIT.done;
  if (rows.length === 0) output.note(`The cache is empty: ${cache}. Fill it with: ${ownCommand()} pull REFERENCE`);
  else output.result(rows, imageLines(rows));
  return EXIT.done;
}

function imageRow({ reference, pointer, root, linked }: CachedReference): ImageRow | undefined {
  const digest = pointer.published;
  if (digest === undefined) return undefined; // Resolved but never published.
  const complete = heldEntries({ root, linked });
  return {
    reference: formatReference(reference),
    digest,
    mediaType: root?.mediaType ?? null,
    platforms: [...new Set(complete.filter(isImageEntry).map(platformName))],
    size: root === undefined ? null : heldBytes(root, complete),
    checked: pointer.checkedMs === undefined ? null : new Date(pointer.checkedMs).toISOString(),
  };
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
