import { startDeadline } from '../async/time.ts';
import { CacheError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { objectionTo } from '../registry/settings.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** Whether clients may be sent on for blobs of the registry at all: `serve.onBlobMiss`, and hosts of the registry that they may be sent to. */
export const redirectAllowed = ({ deps: { settings, passRedirects } }: Serving, { registry }: Repository): boolean =>
  settings.onBlobMiss === 'redirect' && passRedirects(registry).length > 0;

/**
 * Where the client may get the blob meanwhile: the registry's own redirect, asked for once for all who ask at the same moment, and kept for nobody else.
 * Undefined where it may not be sent there, or the registry does not say in time: then it waits. Whoever asks has made sure that the repository serves a
 * manifest which names the blob (I9).
 */
export async function redirectFor(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<URL | undefined> {
  using soon = startDeadline(state.patience.redirectMs);
  const signal = AbortSignal.any([call.signal, soon.signal]);
  const say = (reason: string): void =>
    call.logger.info('a client waits for a blob', { repository: formatRepository(repository), digest, reason });
  try {
    const location = await state.share(`redirect ${contentKey(repository, digest)}`, signal, (shared) =>
      state.ask({ repository, kind: 'redirect', name: digest }, (fetcher) =>
        fetcher.findRedirect({ ...call, signal: shared }, repository, digest),
      ),
    );
    if (location === undefined) return undefined;
    // The address is what the side that asked can tell; what the URL says is read again where it is handed out.
    const objection = objectionTo(location, state.deps.passRedirects(repository.registry));
    if (objection === undefined) return location;
    say(`the registry redirects to ${location.host}, which ${objection}`);
  } catch (error) {
    call.signal.throwIfAborted();
    if (!(error instanceof CacheError)) throw error;
    say(`${error.name}: ${error.message}`);
  }
  return undefined;
}
