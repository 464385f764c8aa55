import type { Use } from '../catalog/catalog.ts';
import { leaseWatch } from '../lock/lease-watch.ts';
import { isLease } from '../lock/lease.ts';
import { sleep } from '../clock/sleep.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf } from '../oci/manifest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import { storeManifests } from '../pull/publish.ts';
import { readManifest, type HeldManifest } from '../pull/read-manifest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { Upstream } from '../registry/upstream.ts';
import type { ServeCall } from './serve-deps.ts';
import { contentKey, type Serving } from './serving.ts';

/** How long a manifest waits for another process that may be about to bring it. It may be asked for twice: that is only a request more. */
const PATIENCE_MS = 5_000;

/**
 * Stores a manifest or index that was read from the repository, lets the repository serve it, and says which content it needs: so that a blob that is asked
 * for later leads back to it. Its content has not landed yet. The caller holds the lock of the reference, or needs none. Idempotent.
 */
export async function landManifest(
  { deps, manifests }: Serving,
  upstream: Upstream,
  held: HeldManifest,
  via: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { descriptor, bytes, content } = held;
  const { repository } = upstream;
  await storeManifests(deps, upstream, [held], signal);
  await deps.catalog.writeUses(usesOf(held), signal);
  const named = content.kind === 'index' && via !== undefined ? { via } : {};
  await deps.catalog.linkEarly(repository, { ...descriptor, ...named }, signal);
  manifests.set(descriptor.digest, bytes);
}

function usesOf({ descriptor: { digest: root }, content }: HeldManifest): Use[] {
  if (content.kind === 'manifest') {
    const blobs = blobsOf(content).map((blob): Use => ({ digest: blob.digest, root, child: root }));
    return [{ digest: root, root, child: root }, ...blobs];
  }
  const children = content.entries.filter(({ mediaType }) => isManifestType(mediaType) || isIndexType(mediaType));
  return [root, ...children.map(({ digest }) => digest)].map((digest): Use => ({ digest, root, child: digest }));
}

/**
 * Brings the manifest by digest from the registry of the repository, which proves that the repository has it (I9); once, however many processes ask.
 *
 * @throws ManifestUnknownError if the repository has none.
 */
export function landByDigest(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<HeldManifest> {
  return state.share(`land ${contentKey(repository, digest)}`, call.signal, async (signal) => {
    const { deps } = state;
    const reference: Reference = { repository, digest };
    await using _lock = await lockSoon(state, reference, signal);
    const { link } = await deps.catalog.findContent(repository, digest, { consistent: true, signal });
    return await state.ask({ ...call, signal }, repository, async (upstream) => {
      const held = await readManifest(deps, upstream, { digest, linked: link }, signal);
      await landManifest(state, upstream, held, undefined, signal);
      return held;
    });
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
