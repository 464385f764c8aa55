import type { Pointer } from '../catalog/catalog.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import { sleep } from '../clock/sleep.ts';
import { ManifestUnknownError } from '../errors/cache-error.ts';
import { leaseWatch } from '../lock/lease-watch.ts';
import { isLease, type Lease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import { resolveRoot } from '../pull/resolve.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import { staleOf, verdictOf, type Stale } from './freshness.ts';
import { landManifest } from './land-manifest.ts';
import type { ServeCall } from './serve-deps.ts';
import type { Serving } from './serving.ts';

/** What a tag means, as far as its policy wants to know it. */
export type Meaning =
  | { readonly digest: Digest; /** Since when the catalogue knows it so. */ readonly checkedMs: number }
  /** The registry could not say; one of these is served instead. */
  | Stale;

/**
 * What the tag means: by what the cache knows, where that is fresh enough; else the registry is asked, by HEAD, once for all who ask meanwhile. A manifest
 * that is new has landed when this returns: its content not yet.
 *
 * @throws ManifestUnknownError, DeniedError, RateLimitedError, UpstreamUnavailableError where nothing may be served in their place.
 */
export async function meaningOf(state: Serving, call: ServeCall, reference: Reference): Promise<Meaning> {
  const freshness = state.freshness(reference);
  const pointer = await findPointer(state, reference, false, call.signal);
  const verdict = verdictOf(pointer, freshness, Date.now());
  if (verdict.kind === 'fresh') return { digest: verdict.digest, checkedMs: pointer?.checkedMs ?? 0 };
  if (verdict.kind === 'missing') throw missing(reference);
  try {
    return await state.share(`resolve ${formatReference(reference)}`, call.signal, (signal) =>
      revalidate(state, { ...call, signal }, reference),
    );
  } catch (error) {
    const stale = staleOf(pointer, freshness, error, Date.now());
    if (stale === undefined) throw error;
    call.logger.warn('a tag is served without its registry', {
      reference: formatReference(reference),
      reason: error instanceof Error ? `${error.name}: ${error.message}` : 'unknown',
    });
    return stale;
  }
}

const findPointer = (
  { deps, share }: Serving,
  reference: Reference,
  consistent: boolean,
  signal: AbortSignal,
): Promise<Pointer | undefined> =>
  share(`pointer ${String(consistent)} ${formatReference(reference)}`, signal, (shared) =>
    deps.catalog.findPointer(reference, { consistent, signal: shared }),
  );

/** Asks the registry under the lock of the reference, unless somebody else just did. */
async function revalidate(state: Serving, call: ServeCall, reference: Reference): Promise<Meaning> {
  const { deps } = state;
  const { signal } = call;
  const freshness = state.freshness(reference);
  const watch = leaseWatch();
  for (;;) {
    const outcome = await deps.leases.tryAcquire(pullLeaseName(reference), watch, signal);
    await using lock = isLease(outcome) ? outcome : undefined;
    const pointer = await findPointer(state, reference, true, signal);
    const verdict = verdictOf(pointer, freshness, Date.now());
    if (verdict.kind === 'fresh') return { digest: verdict.digest, checkedMs: pointer?.checkedMs ?? 0 };
    if (verdict.kind === 'missing') throw missing(reference);
    if (lock !== undefined) return await resolveUnder(state, call, reference, lock);
    await sleep(watch.nextDelayMs(), signal);
  }
}

async function resolveUnder(state: Serving, call: ServeCall, reference: Reference, lock: Lease): Promise<Meaning> {
  const { deps } = state;
  const signal = AbortSignal.any([call.signal, lock.signal]);
  const everything = { platforms: [], explicit: false, attestations: true };
  const request = { reference, platforms: [], alwaysPull: true, attestations: true };
  try {
    return await state.ask({ ...call, signal }, reference.repository, async (upstream) => {
      const resolved = await resolveRoot(deps, upstream, request, undefined, everything, lock, signal);
      const { checkedMs, known, manifest } = resolved;
      if (known !== undefined) return { digest: known.root.digest, checkedMs };
      await landManifest(state, upstream, manifest, reference.tag, signal);
      return { digest: manifest.descriptor.digest, checkedMs };
    });
  } catch (error) {
    if (error instanceof ManifestUnknownError) await deps.catalog.recordMissing(reference, Date.now(), lock, signal);
    throw error;
  }
}

const missing = (reference: Reference): ManifestUnknownError =>
  new ManifestUnknownError(
    `${formatReference(reference)} is not there: its registry said so a moment ago; ask again in a minute`,
  );
