import { landLeaseName } from '../table/keys.ts';
import { sleep } from '../async/time.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import { isManifestLink } from '../pull/other-entries.ts';
import type { Repository } from '../reference/reference.ts';
import type { Landed } from './landing.ts';
import type { ServeCall } from './serve-deps.ts';
import { contentKey, type Serving } from './serving.ts';

/**
 * Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9); once, however many processes ask: they
 * wait for the one that asks, and find what it landed.
 *
 * @throws ManifestUnknownError if the repository has none.
 */
export function landByDigest(state: Serving, call: ServeCall, repository: Repository, digest: Digest): Promise<Landed> {
  return state.share(`land ${contentKey(repository, digest)}`, call.signal, async (signal) => {
    const watch = leaseWatch();
    for (;;) {
      state.requireAwake({ repository, kind: 'manifests', name: digest });
      // A lease of its own: whoever pulls the digest holds its lock for as long as all of its content takes.
      const outcome = await state.deps.leases.tryAcquire(landLeaseName(repository, digest), watch, signal);
      await using lock = isLease(outcome) ? outcome : undefined;
      const there = await findLanded(state, repository, digest, signal);
      if (there !== undefined) return there;
      if (lock !== undefined) return await landUnder(state, { ...call, signal }, repository, digest, lock.signal);
      await sleep(watch.nextDelayMs(), signal);
    }
  });
}

async function landUnder(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  held: AbortSignal,
): Promise<Landed> {
  const signal = AbortSignal.any([call.signal, held]);
  const landed = await state.ask({ repository, kind: 'manifests', name: digest }, (landing) =>
    landing.land({ ...call, signal }, repository, digest),
  );
  state.remember(landed);
  return landed;
}

async function findLanded(
  { deps: { catalog } }: Serving,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<Landed | undefined> {
  const { link, blob } = await catalog.findContent(repository, digest, { consistent: true, signal });
  const isThere = blob?.state === 'present' && link !== undefined && isManifestLink(link);
  return isThere ? { descriptor: link } : undefined;
}
