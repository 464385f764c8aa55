import { InvalidManifestError, PlatformMissingError } from '../errors/cache-error.ts';
import type { IndexEntry } from './descriptor.ts';
import type { Digest } from './digest.ts';
import { isIndexType, isManifestType, OCTET_STREAM } from './media-type.ts';
import { formatPlatform, matchesPlatform, type Platform } from './platform.ts';

const isPlatformed = (entry: IndexEntry): entry is IndexEntry & { platform: Platform } =>
  entry.platform !== undefined && entry.attests === undefined && !isIndexType(entry.mediaType);

/** Whether any entry states a platform. True for an empty index, too: it has nothing to take instead. */
export const hasPlatforms = (entries: readonly IndexEntry[]): boolean =>
  entries.length === 0 || entries.some(isPlatformed);

/**
 * The entries for `platforms` (none: all), and the requested platforms that no entry has.
 *
 * Selects every matching entry, all entries without a platform, all nested indexes, and the attestations of selected
 * manifests (docs/design.md, section 1).
 */
export function selectEntries(
  entries: readonly IndexEntry[],
  platforms: readonly Platform[],
): { selected: IndexEntry[]; missing: Platform[] } {
  if (platforms.length === 0) return { selected: [...entries], missing: [] };
  const matches = (entry: IndexEntry): boolean =>
    entry.attests === undefined &&
    (!isPlatformed(entry) || platforms.some((platform) => matchesPlatform(platform, entry.platform)));
  const described = new Set<Digest>(entries.filter(matches).map((entry) => entry.digest));
  return {
    selected: entries.filter(
      (entry) => matches(entry) || (entry.attests !== undefined && described.has(entry.attests)),
    ),
    missing: platforms.filter(
      (platform) => !entries.some((entry) => isPlatformed(entry) && matchesPlatform(platform, entry.platform)),
    ),
  };
}

/** @throws PlatformMissingError naming what the index has instead. */
export function requirePlatforms(
  reference: string,
  entries: readonly IndexEntry[],
  platforms: readonly Platform[],
): void {
  const { missing } = selectEntries(entries, platforms);
  if (missing.length === 0) return;
  const has = [...new Set(entries.filter(isPlatformed).filter(isReadable).map(platformName))].sort();
  throw new PlatformMissingError(
    `${reference} has no ${missing.map(formatPlatform).join(', ')}; it has ${has.join(', ') || 'no platforms at all'}. Nothing was copied; ask for one of these`,
  );
}

const isReadable = ({ fault }: IndexEntry): boolean => fault === undefined;

/** Refuses a selection with a broken entry. Broken attestations are ignored. @throws InvalidManifestError naming the first */
export function requireReadable(reference: string, selected: readonly IndexEntry[]): void {
  const [first, ...others] = selected.filter((entry) => entry.attests === undefined && !isReadable(entry));
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new InvalidManifestError(
    `${reference}: ${platformName(first)} cannot be pulled: ${first.fault}${more}. Ask for the other platforms with --platform`,
  );
}

/** The platform of an entry as shown in receipts. */
export function platformName({ platform }: IndexEntry): string {
  const isKnown = platform !== undefined && (platform.os !== 'unknown' || platform.architecture !== 'unknown');
  return isKnown ? formatPlatform(platform) : 'unknown';
}

/** Whether the entry is an image, not an attestation, nested index, layer or broken entry. */
export const isImageEntry = (entry: IndexEntry): boolean =>
  entry.attests === undefined && isReadable(entry) && saysPlatform(entry);

/** Judged by media type or by a stated platform. */
const saysPlatform = ({ mediaType, platform }: IndexEntry): boolean =>
  isManifestType(mediaType) || mediaType === OCTET_STREAM || (platform !== undefined && !isIndexType(mediaType));
