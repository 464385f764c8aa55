import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Serving } from './serving.ts';

/** The bytes of a manifest that a repository may serve, from memory or the store. Undefined where the store lost it; the loss is recorded. */
export async function readBytes(
  state: Serving,
  manifest: Descriptor,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const { manifests, deps } = state;
  const cached = manifests.get(manifest.digest);
  if (cached !== undefined) return cached;
  try {
    const bytes = await state.share(`read ${manifest.digest}`, signal, (shared) =>
      deps.store.read(manifest, deps.limits.manifestBytes, shared),
    );
    manifests.set(manifest.digest, bytes);
    return bytes;
  } catch (error) {
    if (!(error instanceof ContentLostError)) throw error;
    await deps.fetcher.markLost({ signal }, manifest.digest);
    return undefined;
  }
}
