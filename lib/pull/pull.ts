import { pullLeaseName } from '../table/keys.ts';
import { BlobsFailedError, ContentSweptError } from '../errors/cache-error.ts';
import { acquire, type Lease } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Upstream } from '../registry/upstream.ts';
import { copyMissing, type CopyOutcome } from './copy-blob.ts';
import { askCache, earlierResolvers } from './hit.ts';
import { prepare, type HeldPull, type Prepared } from './prepare.ts';
import { linkStored, publishPrepared } from './publish.ts';
import { withPositions } from './read-manifest.ts';
import { isStopped, type PullDeps, type PullRequest } from './pull-request.ts';
import { receiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';
import { optionalOf, skippedBy, withoutAbsent } from './skipped.ts';

/*
 * A pull has three steps. One process runs them one after the other (below); a workflow runs each as a task, with a document between them (lib/jobs).
 *
 *   prepare   ask, lock, resolve, plan, store the manifests   prepare.ts
 *   copy      the missing blobs                               copy-blob.ts
 *   publish   link what is there, move the pointer            publish.ts
 *
 * The invariants that they keep (docs/design.md, section 2):
 *
 *   I1  content is whole and true      the store verifies before it shows                        copy-blob.ts
 *   I2  children before parents        everything is there before the root is published          publish.ts
 *   I3  the pointer moves last         in one transaction that holds only under our lock         publish.ts
 *   I4  one live claim per blob        one copies, the others wait or take over                  copy-blob.ts
 *   I5  nothing is lost by a kill      leases expire, and what was finished is found again       all three
 *   I9  knowing a digest is no right   a link needs proof by this repository                     copier.ts
 */

/** Tries of one pull: content that it relied on may turn out to be lost. */
const TRIES = 3;

/** Records how far the pull got. */
export interface PullKeeper {
  /** The lock is held and the pull begins: no one can join it any more. An error thrown here ends the pull. */
  begins(lock: Lease, signal: AbortSignal): Promise<void>;
  /** The pull is not over: there is something to copy, or to publish. */
  prepared(prepared: Prepared, signal: AbortSignal): Promise<void>;
}

/**
 * Puts everything that the reference stands for, for the requested platforms, into the cache. Copies only
 * what is missing.
 *
 * A hit sends no request to the registry. When `deadline` fires with a DeadlineError, the pull stops cleanly,
 * keeps every finished blob, frees its leases and returns `partial`.
 *
 * @throws CacheError (UnknownNameError, ManifestUnknownError, PlatformMissingError, DeniedError, …); then
 * nothing new is visible.
 */
export async function pull(
  deps: PullDeps,
  request: PullRequest,
  deadline: AbortSignal,
  keeper?: PullKeeper,
): Promise<Receipt> {
  const draft = receiptDraft(request.reference);
  const { reference } = request;
  let upstream: Upstream | undefined;
  try {
    deadline.throwIfAborted();
    // A hit ends here: no network. A repository that the configuration does not allow is refused first.
    const { wanted, hit } = await askCache(deps, request, draft, deadline);
    if (hit !== undefined) return hit;

    // From here on, one pull per reference.
    upstream = await deps.upstreams.open(reference.repository, deadline);
    const before = earlierResolvers(deps.catalog, request);
    await using lock = await acquire(deps.leases, pullLeaseName(reference), deadline, (held) =>
      before.note(held, deadline),
    );
    const signal = AbortSignal.any([deadline, lock.signal]);
    await keeper?.begins(lock, signal);

    // With a keeper, the pull has a record, and callers may have joined it while it waited for the lock. A
    // resolution from before may be too old for them: only its own counts.
    const earlier = keeper === undefined ? { earlier: before } : {};
    const held: HeldPull = { deps, upstream, request, wanted, lock, draft, signal, ...earlier };
    for (let tries = 1; ; tries++) {
      try {
        return await prepareCopyPublish(held, keeper);
      } catch (error) {
        if (!(error instanceof ContentSweptError) || tries === TRIES) throw error;
      }
    }
  } catch (error) {
    if (isStopped(deadline, error)) return draft.finish('partial', upstream?.requests);
    throw error;
  }
}

async function prepareCopyPublish(held: HeldPull, keeper: PullKeeper | undefined): Promise<Receipt> {
  const { deps, upstream, request, lock, draft, signal } = held;
  const { receipt, prepared } = await prepare(held);
  if (prepared === undefined) return receipt;
  await keeper?.prepared(prepared, signal);
  const { missing, context, covered } = prepared;
  const optional = optionalOf(prepared.content);
  const absent = new Set<Digest>();
  const done = (blob: Descriptor, outcome: CopyOutcome | 'absent'): void => {
    if (outcome !== 'absent') {
      draft.blob(blob, outcome);
      return;
    }
    absent.add(blob.digest);
    draft.absent(blob, skippedBy(prepared.content, absent));
  };
  try {
    await copyMissing(deps, upstream, missing, signal, done, optional);
  } catch (error) {
    if (!(error instanceof BlobsFailedError)) throw error;
    const failed = new Set<string>([...absent, ...error.failures.map(({ digest }) => digest)]);
    const stored = prepared.content.blobs.filter(({ digest }) => !failed.has(digest));
    await linkStored(deps, upstream.repository, prepared.content, stored, signal);
    throw withPositions(error, prepared.manifests);
  }
  draft.covered(covered);
  // Nothing was copied, and the pointer is where it should be: a hit after all.
  if (prepared.unchanged && absent.size === missing.length) return draft.finish('hit', upstream.requests);
  const content = withoutAbsent(prepared.content, absent);
  draft.recorded(await publishPrepared(deps, request.reference, { content, context }, lock, signal));
  return draft.finish('pulled', upstream.requests);
}
