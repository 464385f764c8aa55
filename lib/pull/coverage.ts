import type { Found } from '../catalog/catalog.ts';
import type { IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { normalisePlatform, type Platform } from '../oci/platform.ts';
import { selectEntries } from '../oci/select.ts';

/** The platforms of a request, and whether it named them itself or the configuration did. */
export interface Wanted {
  readonly platforms: readonly Platform[];
  readonly explicit: boolean;
  /** False where attestations are left out. */
  readonly attestations: boolean;
}

/** What was asked for, each platform once, or the configured list of the registry where nothing was. */
export function wantedPlatforms(
  asked: readonly Platform[],
  configured: readonly Platform[],
  attestations = true,
): Wanted {
  if (asked.length === 0) return { platforms: configured, explicit: false, attestations };
  const distinct = new Map(
    asked.map(normalisePlatform).map((one) => [`${one.os}/${one.architecture}/${one.variant ?? ''}`, one]),
  );
  return { platforms: [...distinct.values()], explicit: true, attestations };
}

/** A configured default narrows indexes only: a single image or an artifact is what it is. */
export const platformsFor = (wanted: Wanted, rootMediaType: string): readonly Platform[] =>
  wanted.explicit || isIndexType(rootMediaType) ? wanted.platforms : [];

/** Those of an index's entries that a request wants. */
export const wantedEntries = (
  entries: readonly IndexEntry[],
  platforms: readonly Platform[],
  { attestations }: Wanted,
): IndexEntry[] =>
  selectEntries(entries, platforms).selected.filter((entry) => attestations || entry.attests === undefined);

/** The entries of a root that a request wants, and which of them are complete for this repository (I2 and I9). */
export interface Coverage {
  readonly entries: readonly { readonly entry: IndexEntry; readonly complete: boolean }[];
  /** All of them, and the root itself. */
  readonly complete: boolean;
}

/** What of the request the cache holds and this repository may serve. No answer from the registry is in it. */
export function coverage({ root, linked }: Pick<Found, 'root' | 'linked'>, wanted: Wanted): Coverage {
  if (root === undefined) return { entries: [], complete: false };
  const platforms = platformsFor(wanted, root.mediaType);
  const { missing } = selectEntries(root.entries, platforms);
  const has = (digest: Digest): boolean => root.complete.has(digest) && linked?.has(digest) === true;
  const entries = wantedEntries(root.entries, platforms, wanted).map((entry) => ({
    entry,
    complete: has(entry.digest),
  }));
  const askable = isIndexType(root.mediaType) || platforms.length < 2;
  return {
    entries,
    complete: has(root.digest) && askable && missing.length === 0 && entries.every((entry) => entry.complete),
  };
}
