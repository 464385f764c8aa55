import { CacheError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { isAsRecorded } from '../pull/reconcile.ts';
import type { ServeCall, Serving } from './serving.ts';

/** A client that comes back within this may not have found the content in the store. */
const COMES_BACK_WITHIN_MS = 60_000;
/** Least time between two questions to the store about one digest: a starting fleet asks for the same blob all the time. */
const ASKED_APART_MS = 2_000;

/** When clients were last sent to the store for some content, and when the store was last asked about it; epoch milliseconds. */
export interface Sent {
  readonly atMs: number;
  readonly askedMs: number;
}

/** Must be called for each URL of the store that a client gets. */
export function recordSent({ sent }: Serving, digest: Digest): void {
  sent.set(digest, { atMs: Date.now(), askedMs: sent.get(digest)?.askedMs ?? 0 });
}

/**
 * Whether the store lost content that its row calls present. The store is asked only where this process redirected a client there for it a moment ago: so
 * content that vanished without an event is fetched again at the client's next try, and a first request costs nothing. A loss is recorded. If the store
 * cannot answer, the content counts as there.
 */
export async function isGone(state: Serving, call: ServeCall, digest: Digest): Promise<boolean> {
  const { atMs, askedMs } = state.sent.get(digest) ?? { atMs: 0, askedMs: 0 };
  const nowMs = Date.now();
  if (nowMs - atMs > COMES_BACK_WITHIN_MS || nowMs - askedMs < ASKED_APART_MS) return false;
  return await state.share(`gone ${digest}`, call.signal, async (signal) => {
    state.sent.set(digest, { atMs, askedMs: nowMs });
    try {
      if (await isAsRecorded(state.deps, digest, signal)) return false;
      const reason = await state.deps.fetcher.markLost({ signal }, digest);
      if (reason === undefined) return false;
      call.logger.warn('the store lost content; it will be fetched again', { digest, reason });
      state.sent.delete(digest);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CacheError)) throw error;
      call.logger.warn('the store could not be asked whether content is there', { digest, reason: error.message });
      return false;
    }
  });
}
