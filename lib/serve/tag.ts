import type { Pointer } from '../catalog/catalog.ts';
import { pullLeaseName } from '../table/keys.ts';
import { sleep } from '../async/time.ts';
import { LeaseHeldError, ManifestUnknownError } from '../errors/cache-error.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease, type HeldLease, type Lease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import type { Subject } from './breakers.ts';
import { verdictOf } from './freshness.ts';
import type { TagResolution } from './fetcher.ts';
import type { ServeCall, Serving } from './serving.ts';

/**
 * Resolves the tag: by `pointer`, what the cache knows of it, where that is fresh enough; else the registry is asked, by HEAD, once for all concurrent callers.
 * A new manifest is stored when this returns, its content not yet.
 *
 * @throws ManifestUnknownError, DeniedError, RateLimitedError, UpstreamUnavailableError; LeaseHeldError where the cache has an older resolution.
 */
export async function resolutionOf(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  pointer: Pointer | undefined,
): Promise<TagResolution> {
  const verdict = verdictOf(pointer, state.freshness(reference), Date.now());
  if (verdict.kind === 'fresh') return { digest: verdict.digest, checkedMs: pointer?.checkedMs ?? 0 };
  if (verdict.kind === 'missing') throw missing(reference);
  // While one caller asks the registry, the others are served what is published.
  const published = state.isShared(resolveKey(reference, 0)) ? publishedResolution(pointer) : undefined;
  return published ?? (await newResolutionOf(state, call, reference, 0));
}

const resolveKey = (reference: Reference, sinceMs: number): string =>
  `resolve ${String(sinceMs > 0)} ${formatReference(reference)}`;

/** What is published under the tag, even if it is not the newest. */
const publishedResolution = (pointer: Pointer | undefined): TagResolution | undefined =>
  pointer?.published === undefined ? undefined : { digest: pointer.published, checkedMs: pointer.checkedMs ?? 0 };

/**
 * The same by the registry, or by an answer that another caller has got, once its manifest is stored.
 *
 * @param sinceMs older answers do not count, fresh or not; epoch milliseconds.
 */
export const newResolutionOf = (
  state: Serving,
  call: ServeCall,
  reference: Reference,
  sinceMs: number,
): Promise<TagResolution> =>
  state.share(resolveKey(reference, sinceMs), call.signal, (signal) =>
    revalidate(state, { ...call, signal }, reference, sinceMs),
  );

/** What the cache knows of the tag: one read for all concurrent callers. */
export const findPointer = (
  { deps, share }: Serving,
  reference: Reference,
  consistent: boolean,
  signal: AbortSignal,
): Promise<Pointer | undefined> =>
  share(`pointer ${String(consistent)} ${formatReference(reference)}`, signal, (shared) =>
    deps.catalog.findPointer(reference, { consistent, signal: shared }),
  );

const subjectOf = ({ repository, tag = '' }: Reference): Subject => ({ repository, kind: 'manifests', name: tag });

/**
 * Asks the registry under the lock of the reference, unless another process just did. If the lock is held, what is published under the tag is served at once;
 * unless its holder has just published it: then the lock is about to be free.
 */
async function revalidate(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  sinceMs: number,
): Promise<TagResolution> {
  const { deps, patience } = state;
  const { signal } = call;
  const freshness = state.freshness(reference);
  const watch = leaseWatch();
  const startedMs = performance.now();
  for (;;) {
    state.requireClosed(subjectOf(reference));
    const outcome = await deps.leases.tryAcquire(pullLeaseName(reference), watch, signal);
    await using lock = isLease(outcome) ? outcome : undefined;
    const pointer = await findPointer(state, reference, true, signal);
    const verdict = verdictOf(pointer, freshness, Date.now());
    const waitedMs = performance.now() - startedMs;
    const isOver = !isLease(outcome) && waitedMs <= patience.lockMs && hasPublished(outcome, pointer, patience.lockMs);
    const published = lock === undefined && sinceMs === 0 && !isOver ? publishedResolution(pointer) : undefined;
    if (verdict.kind === 'missing') throw missing(reference);
    if (verdict.kind === 'fresh' && (pointer?.checkedMs ?? 0) >= sinceMs) {
      const { digest } = verdict;
      const isSettled = lock !== undefined || waitedMs > patience.storeMs;
      if (isSettled || (await isLinked(state, reference, digest, signal))) {
        return { digest, checkedMs: pointer?.checkedMs ?? 0 };
      }
      if (published !== undefined) return published;
    } else if (published !== undefined) {
      return published;
    } else if (lock !== undefined) {
      return await resolveUnder(state, call, reference, lock, pointer);
    } else if (waitedMs > patience.lockMs && (pointer?.resolved ?? pointer?.published) !== undefined) {
      throw pulled(reference);
    }
    await sleep(watch.nextDelayMs(), signal);
  }
}

/** Whether the holder of the lock published a moment ago. If it died after that, its lock stays held for minutes, and no one waits for it. */
const hasPublished = ({ holder }: HeldLease, pointer: Pointer | undefined, withinMs: number): boolean =>
  pointer?.publishedBy === holder && Math.abs(Date.now() - (pointer.publishedMs ?? 0)) < withinMs;

async function isLinked(
  { deps: { catalog } }: Serving,
  { repository }: Reference,
  digest: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  return (await catalog.findContent(repository, digest, { consistent: true, signal })).link !== undefined;
}

async function resolveUnder(
  state: Serving,
  call: ServeCall,
  reference: Reference,
  lock: Lease,
  pointer: Pointer | undefined,
): Promise<TagResolution> {
  const signal = AbortSignal.any([call.signal, lock.signal]);
  const { landed, ...resolution } = await state.ask(subjectOf(reference), (fetcher) =>
    fetcher.resolve({ ...call, signal }, reference, lock, pointer?.resolutions),
  );
  if (landed !== undefined) state.remember(landed);
  return resolution;
}

const missing = (reference: Reference): ManifestUnknownError =>
  new ManifestUnknownError(
    `${formatReference(reference)} was not found at its registry a moment ago; ask again in a minute`,
  );

const pulled = (reference: Reference): LeaseHeldError =>
  new LeaseHeldError(
    'revalidate',
    `${formatReference(reference)} is being pulled, and its registry cannot be asked meanwhile; ask again in a moment`,
  );
