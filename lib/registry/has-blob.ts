import { UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { discard } from './body.ts';
import { isCoded } from './content-encoding.ts';
import { single } from './failure.ts';
import type { ApiRequest, Session } from './session.ts';
import type { Caller } from './transport.ts';

const OP = 'find blob';

/**
 * Whether the host confirms, by 200 and a length that may be the blob's, that it holds the blob for this repository. Whatever else a HEAD says, or a connection that
 * breaks, confirms nothing (I9), a redirect neither: the bytes, by GET, tell what it means.
 *
 * @throws RateLimitedError; what asking for a token means.
 */
export async function hasBlob(session: Session, path: string, blob: Descriptor, caller: Caller): Promise<boolean> {
  const request: ApiRequest = {
    op: OP,
    kind: 'blob',
    method: 'HEAD',
    path,
    reference: blob.digest,
    headers: {},
    accepts: 'hint',
    // Registries redirect for what they do not hold, too, and only the bytes would show it.
    follow: false,
  };
  try {
    return await session.ask(request, caller, async ({ status, headers, body }) => {
      await discard(body);
      if (status !== 200) return false;
      const length = single(headers['content-length']) ?? '0';
      // Some registries answer a HEAD with a length of 0, which says nothing; nor does that of a coded body.
      return length === '0' || Number(length) === blob.size || isCoded(single(headers['content-encoding']));
    });
  } catch (error) {
    caller.signal.throwIfAborted();
    if (error instanceof UpstreamUnavailableError) return false;
    throw error;
  }
}
