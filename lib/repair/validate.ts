import type { Found, Root } from '../catalog/catalog.ts';
import type { Catalog } from '../catalog/ports.ts';
import { bareEntries, isTyped } from '../catalog/needs.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import { platformName, selectEntries } from '../oci/select.ts';
import { coverage, type Coverage, platformsFor, type Wanted, wantedPlatforms } from '../pull/coverage.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import { platformsOf } from '../pull/receipt-draft.ts';
import type { ReceiptPlatform } from '../pull/receipt.ts';
import { reconcile } from '../pull/reconcile.ts';
import { findKnown, findRestored, storedContents } from '../pull/whole.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import type { ContentStore } from '../store/content-store.ts';

export interface ValidateRequest {
  readonly reference: Reference;
  /** If empty: the platforms of a pull without platforms. */
  readonly platforms: readonly Platform[];
  /** Whether attestations count. */
  readonly attestations: boolean;
  /** Also ask S3 for every object. */
  readonly deep: boolean;
  /** With `deep`: also read every object to its end, and compare its bytes with its digest. */
  readonly bytes?: boolean;
}

export interface ValidateDeps {
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly limits: Pick<PullLimits, 'manifestBytes' | 'fanOut'>;
  readonly defaultPlatforms: (registry: string) => readonly Platform[];
}

interface MissingContent {
  readonly digest: Digest;
  /** Bytes; null if unknown. */
  readonly size: number | null;
  readonly reason: string;
}

/** What the cache holds of a reference. No request goes to a registry. */
export interface Validation {
  readonly reference: string;
  readonly digest: Digest | null;
  /** `unknown`: nothing was ever published under this name (for this repository). */
  readonly state: 'complete' | 'incomplete' | 'unknown';
  readonly platforms: readonly ReceiptPlatform[];
  readonly missing: readonly MissingContent[];
}

/**
 * Reports from the cache alone whether the reference is complete for the platforms, and what is missing and
 * why.
 *
 * With `deep`, every object is looked up in the store: size, ETag and checksum must agree with the catalogue,
 * or the bytes with the digest; with `bytes`, the bytes in any case. Content that is gone or wrong is
 * recorded, so that the next pull repairs it. Content that is there, but was not recorded, is recorded.
 */
export async function validate(deps: ValidateDeps, request: ValidateRequest, signal: AbortSignal): Promise<Validation> {
  const { reference } = request;
  const configured = deps.defaultPlatforms(reference.repository.registry);
  const wanted = wantedPlatforms(request.platforms, configured, request.attestations);
  const before = request.deep
    ? await findRestored(deps, reference, wanted, signal)
    : await findKnown(deps, reference, wanted, { consistent: true, remember: true, signal });
  if (before.root === undefined || before.linked === undefined) {
    return { reference: formatReference(reference), digest: null, state: 'unknown', platforms: [], missing: [] };
  }
  const damage = request.deep
    ? await findDamage(deps, before.root, coverage(before, wanted), request.bytes === true, signal)
    : [];
  const found =
    damage.length === 0
      ? before
      : await findKnown(deps, reference, wanted, { consistent: true, remember: true, signal });
  return report(deps, reference, found, wanted, damage, signal);
}

async function report(
  deps: ValidateDeps,
  reference: Reference,
  found: Found,
  wanted: Wanted,
  damage: readonly MissingContent[],
  signal: AbortSignal,
): Promise<Validation> {
  const covered = coverage(found, wanted);
  const missing = new Map(damage.map((one) => [one.digest, one]));
  for (const one of await missingOf(deps, found, covered, wanted, signal)) {
    if (!missing.has(one.digest)) missing.set(one.digest, one);
  }
  return {
    reference: formatReference(reference),
    digest: found.root?.digest ?? null,
    state: covered.complete && missing.size === 0 ? 'complete' : 'incomplete',
    platforms: platformsOf(covered.entries),
    missing: [...missing.values()],
  };
}

/** Why a root is not complete: platforms it does not have, manifests that were never pulled, blobs that are gone. */
async function missingOf(
  deps: ValidateDeps,
  { root, linked }: Found,
  covered: Coverage,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<MissingContent[]> {
  if (root === undefined || covered.complete) return [];
  const missing: MissingContent[] = [];
  const platforms = platformsFor(wanted, root.mediaType, root.entries);
  for (const platform of selectEntries(root.entries, platforms).missing) {
    missing.push({ digest: root.digest, size: null, reason: `the image has no ${formatPlatform(platform)}` });
  }
  for (const { layer, complete } of covered.layers) {
    if (!complete) missing.push({ ...sized(layer), reason: 'gone from the store' });
  }
  for (const { entry, complete } of covered.entries) {
    if (complete) continue;
    if (entry.fault !== undefined) {
      missing.push({ digest: root.digest, size: null, reason: `${describe(entry)} cannot be pulled: ${entry.fault}` });
      continue;
    }
    if (root.complete.has(entry.digest) && linked?.has(entry.digest) !== true) {
      missing.push({
        ...sized(entry),
        reason: 'not linked to this repository: no pull has proved yet that it has this content',
      });
      continue;
    }
    missing.push(...(await missingBelow(deps, root, entry, signal)));
  }
  if (missing.length === 0)
    missing.push({ ...sized(root), reason: 'its content changed after it was published; pull it again' });
  return missing;
}

async function missingBelow(
  deps: ValidateDeps,
  root: Root,
  entry: IndexEntry,
  signal: AbortSignal,
): Promise<MissingContent[]> {
  const neverPulled = [{ ...sized(entry), reason: `${describe(entry)} was not pulled` }];
  const row = (await deps.catalog.findBlobs([entry.digest], signal)).get(entry.digest);
  if (row?.state !== 'present')
    return row === undefined
      ? neverPulled
      : [{ ...sized(entry), reason: `the ${nounOf(root, entry)} is gone from the store` }];
  // A pull has not found out yet what it is, or it needs nothing else.
  if (!isTyped(entry) && (bareEntries(root).has(entry.digest) || root.contents.get(entry.digest) === undefined)) {
    return neverPulled;
  }
  const blobs = await storedContents(deps, entry, signal);
  if (blobs === undefined) return [{ ...sized(entry), reason: 'the manifest is gone from the store' }];
  const rows = await deps.catalog.findBlobs(
    blobs.map((blob) => blob.digest),
    signal,
  );
  const absent = blobs.filter((blob) => rows.get(blob.digest)?.state !== 'present');
  if (absent.length === 0) return neverPulled;
  return absent.map((blob) => ({
    ...sized(blob),
    reason: rows.has(blob.digest) ? 'gone from the store' : 'never copied',
  }));
}

const nounOf = (root: Root, { digest }: IndexEntry): string =>
  bareEntries(root).get(digest) === 'blob' ? 'blob' : 'manifest';

function describe(entry: IndexEntry): string {
  if (entry.attests !== undefined) return `the attestation of ${entry.attests}`;
  const isPlatform = isTyped(entry) || entry.platform !== undefined;
  return isPlatform ? `platform ${platformName(entry)}` : `an entry of type ${entry.mediaType}`;
}

/** Content; its size is known if a manifest states it. */
type Content = Pick<Descriptor, 'digest'> & Partial<Pick<Descriptor, 'size'>>;

const sized = ({ digest, size }: Content): Pick<MissingContent, 'digest' | 'size'> => ({ digest, size: size ?? null });

/** Checks every object that the complete entries of the root need, and records what is gone or wrong. */
async function findDamage(
  deps: ValidateDeps,
  root: Root,
  covered: Coverage,
  bytes: boolean,
  signal: AbortSignal,
): Promise<MissingContent[]> {
  const complete = covered.entries.filter((one) => one.complete).map(({ entry }) => entry);
  const contents = new Map<Digest, Content>();
  const bare = bareEntries(root);
  const gone: Digest[] = [];
  for (const manifest of [root, ...complete]) {
    contents.set(manifest.digest, manifest);
    if (bare.has(manifest.digest)) continue;
    const blobs = await storedContents(deps, manifest, signal);
    if (blobs === undefined) gone.push(manifest.digest);
    for (const blob of blobs ?? []) contents.set(blob.digest, blob);
  }
  // For manifests that are gone, the catalogue has what they need.
  for (const digest of [...(await deps.catalog.findNeeds(gone, signal)).values()].flat()) {
    if (!contents.has(digest)) contents.set(digest, { digest });
  }
  for (const { layer } of covered.layers) contents.set(layer.digest, layer);
  const missing = await reconcile(deps, [...contents.values()], { adopt: true, bytes, signal });
  return [...contents.values()].flatMap((content) => {
    const reason = missing.get(content.digest);
    return reason === undefined ? [] : [{ ...sized(content), reason }];
  });
}
