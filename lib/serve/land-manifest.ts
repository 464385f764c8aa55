import { pullLeaseName } from '../catalog/keys.ts';
import { sleep } from '../clock/sleep.ts';
import { leaseWatch } from '../lock/lease-watch.ts';
import { isLease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { Landed } from './landing.ts';
import type { ServeCall } from './serve-deps.ts';
import { contentKey, type Serving } from './serving.ts';

/** How long a manifest waits for another process that may be about to bring it. It may be asked for twice: that is only a request more. */
const PATIENCE_MS = 5_000;

/**
 * Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9); once, however many processes ask.
 *
 * @throws ManifestUnknownError if the repository has none.
 */
export function landByDigest(state: Serving, call: ServeCall, repository: Repository, digest: Digest): Promise<Landed> {
  return state.share(`land ${contentKey(repository, digest)}`, call.signal, async (signal) => {
    await using _lock = await lockSoon(state, { repository, digest }, signal);
    const landed = await state.ask(repository, (landing) => landing.land({ ...call, signal }, repository, digest));
    state.remember(landed);
    return landed;
  });
}

/** The lock of the reference, or nothing if somebody holds it for long: a pull holds it until all has landed. */
async function lockSoon(
  { deps }: Serving,
  reference: Reference,
  signal: AbortSignal,
): Promise<AsyncDisposable | undefined> {
  const watch = leaseWatch();
  const startedMs = performance.now();
  for (;;) {
    const outcome = await deps.leases.tryAcquire(pullLeaseName(reference), watch, signal);
    if (isLease(outcome)) return outcome;
    const delayMs = watch.nextDelayMs();
    if (performance.now() - startedMs + delayMs > PATIENCE_MS) return undefined;
    await sleep(delayMs, signal);
  }
}
