import type { ForeignLayer, Found } from '../catalog/catalog.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { type Manifest, platformOfConfig } from '../oci/manifest.ts';
import { isImageConfigType, isIndexType, isManifestType } from '../oci/media-type.ts';
import { normalisePlatform, type Platform } from '../oci/platform.ts';
import { hasPlatforms, selectEntries } from '../oci/select.ts';
import type { PullLimits } from './pull-request.ts';
import type { SkippedContent } from './receipt.ts';
import { distinctSkipped, skippedEntry, skippedLayer } from './skipped.ts';

/** The platforms of a request, and whether the request or the configuration named them. */
export interface Wanted {
  readonly platforms: readonly Platform[];
  readonly explicit: boolean;
  /** False where attestations are left out. */
  readonly attestations: boolean;
}

/** The platforms of the request, each once; without any, the configured list of the registry. */
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

/**
 * A configured list selects only among the platforms of an index; it does not apply to a single image, an
 * artifact or a list of blobs.
 */
export const platformsFor = (
  wanted: Wanted,
  rootMediaType: string,
  entries: readonly IndexEntry[],
): readonly Platform[] =>
  wanted.explicit || (isIndexType(rootMediaType) && hasPlatforms(entries)) ? wanted.platforms : [];

/** Those of an index's entries that a request wants. */
export const wantedEntries = (
  entries: readonly IndexEntry[],
  platforms: readonly Platform[],
  { attestations }: Wanted,
): IndexEntry[] =>
  selectEntries(entries, platforms).selected.filter((entry) => attestations || entry.attests === undefined);

/**
 * Whether the image is complete without the entry if the registry does not have it: an attestation, or, for a
 * request with platforms, a manifest without one. Never an entry that may be an index: what it lists is part
 * of the root, too (I2).
 */
export const isOptional = ({ attests, mediaType, platform }: IndexEntry, platforms: readonly Platform[]): boolean =>
  attests !== undefined || (platforms.length > 0 && platform === undefined && isManifestType(mediaType));

/** The entries of a root that a request wants, and which of them are complete for this repository (I2 and I9). */
export interface Coverage {
  readonly entries: readonly { readonly entry: IndexEntry; readonly complete: boolean }[];
  /** Foreign layers of these entries that the repository may serve. */
  readonly layers: readonly { readonly layer: ForeignLayer; readonly complete: boolean }[];
  /** Content that the registry did not have at the last try: the image is complete without it. */
  readonly skipped: readonly SkippedContent[];
  /** All of it that was not skipped, and the root itself. */
  readonly complete: boolean;
}

/** What of the request the cache holds and this repository may serve, by the catalogue alone. */
export function coverage(found: Pick<Found, 'root' | 'linked' | 'skipped'>, wanted: Wanted): Coverage {
  const { root, linked } = found;
  if (root === undefined) return { entries: [], layers: [], skipped: [], complete: false };
  const platforms = platformsFor(wanted, root.mediaType, root.entries);
  const { missing } = selectEntries(root.entries, platforms);
  const has = (digest: Digest): boolean => root.complete.has(digest) && linked?.has(digest) === true;
  const selected = wantedEntries(root.entries, platforms, wanted);
  const isLacking = (entry: IndexEntry): boolean =>
    isOptional(entry, platforms) &&
    !has(entry.digest) &&
    (entry.fault !== undefined || found.skipped?.has(entry.digest) === true);
  const entries = selected
    .filter((entry) => !isLacking(entry))
    .map((entry) => ({ entry, complete: has(entry.digest) }));
  const whole = new Set(entries.filter((one) => one.complete).map(({ entry }) => entry.digest));
  const foreign = root.foreign.filter(({ entry }) => whole.has(entry));
  // A layer that was lost is fetched again, unless the registry no longer has it either.
  const isServed = ({ digest }: ForeignLayer): boolean =>
    linked?.has(digest) === true && (has(digest) || found.skipped?.has(digest) !== true);
  const layers = foreign.filter(isServed).map((layer) => ({ layer, complete: has(layer.digest) }));
  const skipped = [
    ...selected.filter(isLacking).map((entry) => skippedEntry(entry)),
    ...foreign.filter((layer) => !isServed(layer)).map(skippedLayer),
  ];
  const askable = isIndexType(root.mediaType) || platforms.length < 2;
  return {
    entries,
    layers,
    skipped: distinctSkipped(skipped),
    complete:
      has(root.digest) && askable && missing.length === 0 && [...entries, ...layers].every((one) => one.complete),
  };
}

/**
 * The platform of a single image, as its config states it. Undefined for an artifact, and for a config that
 * states none or is too large to read.
 */
export async function statedPlatform(
  { config }: Manifest,
  { manifestBytes }: Pick<PullLimits, 'manifestBytes'>,
  read: (config: Descriptor) => Promise<Uint8Array>,
): Promise<Platform | undefined> {
  if (config === undefined || !isImageConfigType(config.mediaType) || config.size > manifestBytes) return undefined;
  return platformOfConfig(await read(config));
}

/** Why {@link statedPlatform} found none, for messages: `is an artifact without a platform (no config states one)`. */
export function withoutPlatform({ config }: Manifest, { manifestBytes }: Pick<PullLimits, 'manifestBytes'>): string {
  if (config !== undefined && isImageConfigType(config.mediaType) && config.size > manifestBytes) {
    return `states its platform in a config of ${config.size} bytes, which is not read for it: the limit is ${manifestBytes} (limits.manifestBytes in the configuration)`;
  }
  return 'is an artifact without a platform (no config states one)';
}
