import type { Found } from '../catalog/catalog.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import { ContentSweptError } from '../errors/cache-error.ts';
import { acquire } from '../lock/acquire.ts';
import type { Lease } from '../lock/lease.ts';
import type { Upstream } from '../registry/upstream.ts';
import { copier } from './copier.ts';
import type { Wanted } from './coverage.ts';
import { askCache, earlierResolvers, isAnswered, receiptOfHit } from './hit.ts';
import { contentOf, planPull } from './plan.ts';
import { coveredBy, linkContent, publish, publishedByPlan, publishedKnown, storeManifests } from './publish.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { draftPresent, receiptDraft, type ReceiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';
import { ensureRecorded } from './ref-order.ts';
import { resolveRoot } from './resolve.ts';
import { isStopped } from './stopped.ts';
import { findRestored } from './whole.ts';

/*
 * The invariants this story keeps (docs/design.md, section 2):
 *
 *   I1  content is whole and true      the store verifies before it shows                        copy-blob.ts
 *   I2  children before parents        blobs, manifests, nested indexes, the root                publish.ts
 *   I3  the pointer moves last         in one transaction that holds only under our lock         step 7
 *   I4  one live claim per blob        one copies, the others wait or take over                  copy-blob.ts
 *   I5  nothing is lost by a kill      leases expire, and what was finished is found again       steps 3 and 6
 *   I9  knowing a digest is no right   a link needs proof by this repository                     presence.ts
 */

/** Tries to land one answer. */
const LANDINGS = 3;

/**
 * Makes sure that what the reference means, for the requested platforms, is all in the cache, and copies only what is missing.
 *
 * On a hit no request of any kind goes to the registry. When `deadline` fires with a DeadlineError the pull stops cleanly, keeps every
 * finished blob, frees its leases and answers `partial`.
 *
 * @throws CacheError (UnknownNameError, ManifestUnknownError, PlatformMissingError, DeniedError, …); then nothing new is visible.
 */
export async function pull(deps: PullDeps, request: PullRequest, deadline: AbortSignal): Promise<Receipt> {
  const draft = receiptDraft(request.reference);
  const { reference } = request;
  let upstream: Upstream | undefined;
  try {
    deadline.throwIfAborted();
    // 1. Ask the cache. Here a hit ends: no network. What the configuration does not allow ends before.
    const { wanted, hit } = await askCache(deps, request, draft, deadline);
    if (hit !== undefined) return hit;

    // 2. One puller per reference from here on.
    upstream = await deps.upstreams.open(reference.repository, deadline);
    const before = earlierResolvers(deps.catalog, request);
    await using lock = await acquire(deps.leases, pullLeaseName(reference), deadline, (held) =>
      before.note(held, deadline),
    );
    const signal = AbortSignal.any([deadline, lock.signal]);

    // 3. Somebody may just have finished, or have brought back what was lost.
    let now = await findRestored(deps, reference, wanted, signal);
    if (isAnswered(request, before, now, wanted)) {
      draft.recorded(await ensureRecorded(deps, reference, now, signal));
      return receiptOfHit(draft, now, wanted);
    }

    // 4. to 7. Once more from there, still under the lock, if content that we counted on was found to be lost meanwhile.
    for (let tries = 1; ; tries++) {
      try {
        return await land({ deps, upstream, request, wanted, now, lock, draft, signal });
      } catch (error) {
        if (!(error instanceof ContentSweptError) || tries === LANDINGS) throw error;
        now = await findRestored(deps, reference, wanted, signal);
      }
    }
  } catch (error) {
    if (isStopped(deadline, error)) return draft.finish('partial', upstream?.requests);
    throw error;
  }
}

/** A pull that holds its lock. */
interface Landing {
  readonly deps: PullDeps;
  readonly upstream: Upstream;
  readonly request: PullRequest;
  readonly wanted: Wanted;
  /** What the cache knew when the lock was taken. */
  readonly now: Found;
  readonly lock: Lease;
  readonly draft: ReceiptDraft;
  readonly signal: AbortSignal;
}

async function land({ deps, upstream, request, wanted, now, lock, draft, signal }: Landing): Promise<Receipt> {
  const { reference } = request;

  // 4. What does the name mean, under the lock? If we have that already, only the pointer moves, and not even that if it is there.
  const { checkedMs, pointer, found, known, manifest } = await resolveRoot(
    deps,
    upstream,
    request,
    now,
    wanted,
    lock,
    signal,
  );
  const ground = { reference, pointer, checkedMs, found };
  if (known !== undefined) {
    draftPresent(draft, known.root, known.covered);
    if (now.pointer?.published === known.root.digest) {
      draft.recorded(await ensureRecorded(deps, reference, now, signal));
      return draft.finish('hit', upstream.requests);
    }
    draft.recorded(await publish(deps, ground, publishedKnown(known.root, known.covered), lock, signal));
    return draft.finish('pulled', upstream.requests);
  }
  draft.resolved(manifest.descriptor);

  // 5. What is wanted, minus what is there (and may be used, I9). Only a single image's config moves early: it says the platform.
  const { copy, obtain } = copier(deps, upstream, draft, signal);
  const plan = await planPull({ deps, upstream, request, wanted, signal, obtain }, manifest);
  draft.planned(plan);

  // 6. Blobs, then manifests, children first.
  await copy(plan.blobs);
  await storeManifests(deps, upstream, [...plan.manifests, plan.root], signal);
  const content = contentOf(plan);
  await linkContent(deps, reference.repository, content, signal);

  // 7. Last of all, and only if the lock is still ours.
  draft.recorded(await publish(deps, ground, publishedByPlan(content), lock, signal));
  draft.covered(coveredBy(plan));
  return draft.finish('pulled', upstream.requests);
}
