import { startDeadline } from '../async/time.ts';
import { CacheError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { objectionTo } from '../registry/settings.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** Whether clients may be redirected for blobs of the registry: by `serve.onBlobMiss`, and if the registry has `passRedirects`. */
export const redirectAllowed = ({ deps: { settings, passRedirects } }: Serving, { registry }: Repository): boolean =>
  settings.onBlobMiss === 'redirect' && passRedirects(registry).length > 0;

/**
 * Where the client can get the blob meanwhile: the registry's own redirect, asked for once for all callers at the same moment, and not kept. Undefined where
 * the client may not follow it, or the registry does not answer in time: then the client waits. Callers have checked that the repository serves a manifest
 * that names the blob (I9).
 */
export async function redirectFor(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<URL | undefined> {
  using soon = startDeadline(state.patience.redirectMs);
  const signal = AbortSignal.any([call.signal, soon.signal]);
  const log = (reason: string): void =>
    call.logger.info('a client waits for a blob', { repository: formatRepository(repository), digest, reason });
  try {
    const location = await state.share(`redirect ${contentKey(repository, digest)}`, signal, (shared) =>
      state.ask({ repository, kind: 'redirect', name: digest }, (fetcher) =>
        fetcher.findRedirect({ ...call, signal: shared }, repository, digest),
      ),
    );
    if (location === undefined) return undefined;
    // The fetcher has checked the address; the URL itself is checked again here, where it is handed out.
    const objection = objectionTo(location, state.deps.passRedirects(repository.registry));
    if (objection === undefined) return location;
    log(`the registry redirects to ${location.host}, which ${objection}`);
  } catch (error) {
    call.signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    log(`${error.name}: ${error.message}`);
  }
  return undefined;
}
