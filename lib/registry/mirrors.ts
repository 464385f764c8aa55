import { CacheError } from '../errors/cache-error.ts';
import type { Session, Sources } from './session.ts';

/**
 * The first answer: of a mirror, or else of the endpoint, whose word is final. Whatever a mirror fails with (unreachable, 5xx, 404, refused
 * without credentials, wrong content) only leads on to the next.
 */
export async function askInOrder<T>(
  { mirrors, endpoint }: Sources,
  signal: AbortSignal,
  ask: (session: Session) => Promise<T>,
): Promise<T> {
  for (const mirror of mirrors) {
    if (mirror.isResting) continue;
    try {
      return await ask(mirror);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CacheError)) throw error;
    }
  }
  return await ask(endpoint);
}
