import type { Found, Pointer, Root } from '../catalog/catalog.ts';
import type { Completeness, Links, Pointers, Roots } from '../catalog/ports.ts';
import type { HeldLease } from '../lock/lease.ts';
import { blobAlone, findBlobHit } from './blob-alone.ts';
import { coverage, wantedPlatforms, type Wanted } from './coverage.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { draftPresent, receiptDraft, type ReceiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';
import { findKnown } from './whole.ts';

/** What a hit needs: no store and no registry. */
export type HitDeps = Pick<PullDeps, 'defaultPlatforms' | 'requireAllowed'> & {
  readonly catalog: Roots & Completeness & Links;
};

/** What the cache knew when the request arrived. */
interface Arrival {
  readonly wanted: Wanted;
  /** Not read for `alwaysPull`: the registry is asked in any case. */
  readonly found?: Found;
  /** Everything is there, and the registry need not be asked: the pull ends here. */
  readonly hit?: Receipt;
}

/**
 * Asks the cache alone.
 *
 * @throws UnknownNameError if the configuration does not allow the repository, cached or not; CatalogError.
 */
export async function askCache(
  deps: HitDeps,
  request: PullRequest,
  draft: ReceiptDraft,
  signal: AbortSignal,
): Promise<Arrival> {
  const { reference } = request;
  deps.requireAllowed(reference.repository);
  const digest = blobAlone(request);
  if (digest !== undefined) {
    const hit = await findBlobHit(deps, reference.repository, digest, draft, signal);
    return { wanted: wantedPlatforms([], []), ...(hit === undefined ? {} : { hit }) };
  }
  const configured = deps.defaultPlatforms(reference.repository.registry);
  const wanted = wantedPlatforms(request.platforms, configured, request.attestations);
  if (request.alwaysPull) return { wanted };
  // Completeness that is worked out from rows is remembered: the next pull reads less.
  const found = await findKnown(deps, reference, wanted, { consistent: false, remember: true, signal });
  if (isBehind(request, found) || !isCached(found, wanted)) return { wanted, found };
  return { wanted, found, hit: receiptOfHit(draft, found, wanted) };
}

/**
 * The receipt of a hit; undefined if the registry must be asked, as always for `alwaysPull`. Two reads of the
 * catalogue, a few more after content was lost; no other request.
 *
 * @throws as {@link askCache} does.
 */
export async function findHit(deps: HitDeps, request: PullRequest, signal: AbortSignal): Promise<Receipt | undefined> {
  const { hit } = await askCache(deps, request, receiptDraft(request.reference), signal);
  return hit;
}

/** The request needs a recent resolution, and what is published is older. */
const isBehind = ({ resolvedSinceMs, reference }: PullRequest, { pointer }: Found): boolean =>
  resolvedSinceMs !== undefined && reference.digest === undefined && pointer?.resolved !== pointer?.published;

/** The cache has a complete answer that this repository may serve. */
export const isCached = (found: Found, wanted: Wanted): found is Found & { root: Root } =>
  coverage(found, wanted).complete;

/** Pulls that may have asked the registry before a caller with `alwaysPull` arrived. */
export interface EarlierResolvers {
  /** The first try to take the lock was refused; `held` names its holder. */
  note(held: HeldLease, signal: AbortSignal): Promise<void>;
  /** Whether the registry was asked for this pointer after the caller arrived. */
  isLater(pointer: Pointer): boolean;
}

/**
 * Uses the order of the table, and no clock. The pointer is read after the lock was refused, so whoever asked
 * before either still holds the lock or is named by the pointer. Any other name that appears later took the
 * lock, and asked, after this caller arrived. If the lock was free, no one else had asked.
 */
export function earlierResolvers(catalog: Pointers, { reference, alwaysPull }: PullRequest): EarlierResolvers {
  let earlier: ReadonlySet<string | undefined> | undefined;
  return {
    async note({ holder }, signal) {
      if (!alwaysPull) return;
      const pointer = await catalog.findPointer(reference, { consistent: true, signal });
      earlier = new Set([holder, pointer?.resolvedBy, undefined]);
    },
    isLater: ({ resolvedBy }) => earlier !== undefined && !earlier.has(resolvedBy),
  };
}

/** Another pull did our work while we waited for the lock. For `alwaysPull`, only if its resolution began after we arrived. */
export function isAnswered(
  request: PullRequest,
  earlier: EarlierResolvers | undefined,
  now: Found,
  wanted: Wanted,
): now is Found & { root: Root } {
  if (!isCached(now, wanted) || isBehind(request, now)) return false;
  if (!request.alwaysPull) return true;
  const { pointer } = now;
  return pointer?.resolved === pointer?.published && pointer !== undefined && earlier?.isLater(pointer) === true;
}

/** The receipt of a hit: nothing copied, no pointer moved. */
export function receiptOfHit(draft: ReceiptDraft, found: Found & { root: Root }, wanted: Wanted): Receipt {
  draftPresent(draft, found.root, coverage(found, wanted));
  return draft.finish('hit');
}
