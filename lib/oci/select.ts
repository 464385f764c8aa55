import { PlatformMissingError } from '../errors/cache-error.ts';
import type { IndexEntry } from './descriptor.ts';
import type { Digest } from './digest.ts';
import { isIndexType } from './media-type.ts';
import { formatPlatform, matchesPlatform, type Platform } from './platform.ts';

const isPlatformed = (entry: IndexEntry): entry is IndexEntry & { platform: Platform } =>
  entry.platform !== undefined && entry.attests === undefined && !isIndexType(entry.mediaType);

/**
 * The entries that answer a request for `platforms` (none: all), and the requested platforms that no entry has.
 *
 * Every matching entry is taken; entries without platform, and nested indexes, go along with every request; attestations go along with the manifests
 * they describe (docs/design.md, section 1).
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
  const has = [...new Set(entries.filter(isPlatformed).map((entry) => formatPlatform(entry.platform)))].sort();
  throw new PlatformMissingError(
    `${reference} has no ${missing.map(formatPlatform).join(', ')}; it has ${has.join(', ') || 'no platforms at all'}. Nothing was copied; ask for one of these`,
  );
}

/** What a receipt calls the platform of an entry. */
export const platformName = (entry: IndexEntry): string =>
  entry.platform === undefined ? 'unknown' : formatPlatform(entry.platform);

/** Whether the entry is content for a platform, rather than an attestation or a nested index. */
export const isImageEntry = (entry: IndexEntry): boolean =>
  entry.attests === undefined && !isIndexType(entry.mediaType);
