import type { Found, Pointer, Root } from '../catalog/catalog.ts';
import type { Completeness, Links, Pointers, Roots } from '../catalog/ports.ts';
import type { HeldLease } from '../lock/lease.ts';
import { blobAlone, findBlobHit } from './blob-alone.ts';
import { coverage, wantedPlatforms, type Wanted } from './coverage.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { draftPresent, receiptDraft, type ReceiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';
import { findKnown } from './whole.ts';

/** What a hit needs: no store, no registry. */
export type HitDeps = Pick<PullDeps, 'defaultPlatforms' | 'requireAllowed'> & {
  readonly catalog: Roots & Completeness & Links;
};

/** What the cache knew when the request came. */
export interface Arrival {
  readonly wanted: Wanted;
  /** Not read for `alwaysPull`: whatever is known, the registry is asked. */
  readonly found?: Found;
  /** All of it is there, and nobody asked to look further: the pull ends here. */
  readonly hit?: Receipt;
}

/**
 * Asks the cache, and nobody else.
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
  // What is found out of rows is remembered, so that the next one asks less.
  const found = await findKnown(deps, reference, wanted, { consistent: false, remember: true, signal });
  if (isBehind(request, found) || !isCached(found, wanted)) return { wanted, found };
  return { wanted, found, hit: receiptOfHit(draft, found, wanted) };
}

/**
 * The receipt of a hit, or undefined where more than the cache must be asked: always for `alwaysPull`. Two reads of the catalogue, some more where content was found
 * to be lost since, here or elsewhere; no other request.
 *
 * @throws as {@link askCache} does.
 */
export async function findHit(deps: HitDeps, request: PullRequest, signal: AbortSignal): Promise<Receipt | undefined> {
  const { hit } = await askCache(deps, request, receiptDraft(request.reference), signal);
  return hit;
}

/** What is published is known not to be what the name means, and the request is about that. */
const isBehind = ({ resolvedSinceMs, reference }: PullRequest, { pointer }: Found): boolean =>
  resolvedSinceMs !== undefined && reference.digest === undefined && pointer?.resolved !== pointer?.published;

/** The cache has a complete answer that this repository may serve. */
export const isCached = (found: Found, wanted: Wanted): found is Found & { root: Root } =>
  coverage(found, wanted).complete;

/** Who may have asked the registry before a caller with `alwaysPull` came. */
export interface EarlierResolvers {
  /** The first try to take the lock was refused: `held` says who had it then. */
  note(held: HeldLease, signal: AbortSignal): Promise<void>;
  /** Whether what the pointer means was asked for after this caller came. */
  isLater(pointer: Pointer): boolean;
}

/**
 * By the table's own order, and nobody's clock: the pointer is read after the lock was refused, so who asked before that either holds the lock still or is named by
 * the pointer. Anybody else who records something later took the lock, and asked, after this caller came. Where the lock was free nobody else asked at all.
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

/** Somebody did our work while we waited for the lock. For `alwaysPull` only a resolution that began after we arrived is good enough. */
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

/** Nothing copied, no pointer moved. */
export function receiptOfHit(draft: ReceiptDraft, found: Found & { root: Root }, wanted: Wanted): Receipt {
  draftPresent(draft, found.root, coverage(found, wanted));
  return draft.finish('hit');
}
