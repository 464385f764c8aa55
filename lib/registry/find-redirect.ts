import type { LookupFunction } from 'node:net';
import { BlobUnknownError, UpstreamRefusedError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { isPublicAddress } from './address.ts';
import { discard } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import { isRedirect, REDIRECT_STATUSES } from './redirect.ts';
import type { ApiRequest, Session } from './session.ts';
import { objectionTo } from './settings.ts';
import type { RegistryResponse, RequestContext } from './transport.ts';

const OP = 'find redirect';

/** Where clients may be sent, and how a host's addresses are found. */
export interface RedirectRules {
  readonly passRedirects: readonly string[];
  readonly lookup: LookupFunction;
}

/**
 * Where the host redirects for the blob: a URL that is safe to give to a client. One try, and nothing is followed. Undefined where it answers with the bytes
 * themselves, of which none is read.
 *
 * GET, because many registries answer HEAD themselves.
 *
 * @throws UpstreamRefusedError if the client must not be sent there: by {@link objectionTo}, to the registry itself, to an address that is not public, or
 * with a credential of ours; BlobUnknownError on 404 and only then.
 */
export async function findRedirect(
  session: Session,
  path: string,
  digest: Digest,
  rules: RedirectRules,
  context: RequestContext,
): Promise<URL | undefined> {
  if (rules.passRedirects.length === 0) return undefined;
  const request: ApiRequest = {
    op: OP,
    kind: 'blob',
    method: 'GET',
    path,
    reference: digest,
    headers: {},
    accepts: [200, 404, ...REDIRECT_STATUSES],
    follow: false,
    attempts: 1,
  };
  const location = await session.ask(request, context, async (answer) => {
    if (isRedirect(answer.status)) {
      await discard(answer.body);
      return locationIn(answer, rules.passRedirects);
    }
    if (answer.status === 404) {
      const words = await registryWords(answer);
      throw new BlobUnknownError(`${answer.server} has no blob ${digest} in ${path}${words}`);
    }
    answer.body.destroy();
    return undefined;
  });
  if (location !== undefined) await requirePublic(location, rules.lookup, context.signal);
  return location;
}

function locationIn(answer: RegistryResponse, passRedirects: readonly string[]): URL {
  const text = single(answer.headers.location);
  if (text === undefined || !URL.canParse(text, answer.url.href)) {
    throw new UpstreamRefusedError(OP, `${answer.from} answered ${answer.status} without a usable Location`);
  }
  const location = new URL(text, answer.url);
  if (answer.secrets.isIn(location.href)) {
    throw new UpstreamRefusedError(OP, `${answer.from} redirects to a URL that holds our own credentials`);
  }
  const isItself = location.origin === answer.url.origin;
  const objection = isItself ? 'is the registry itself' : objectionTo(location, passRedirects);
  if (objection !== undefined) throw refused(location, objection);
  return location;
}

/** What the client finds may be something else: this keeps it from where nothing but a private network is. */
async function requirePublic(url: URL, lookup: LookupFunction, signal: AbortSignal): Promise<void> {
  const addresses = await addressesOf(url.hostname, lookup, signal);
  const isPublic = addresses.length > 0 && addresses.every((address) => isPublicAddress(address));
  if (!isPublic) throw refused(url, `resolves to ${addresses.join(', ') || 'no address'}, not to public ones alone`);
}

/** Nobody can stop a look-up that runs; whoever waits for it can leave. */
function addressesOf(host: string, lookup: LookupFunction, signal: AbortSignal): Promise<readonly string[]> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  const leave = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', leave, { once: true });
  lookup(host, { all: true }, (error, answer) => {
    if (error !== null) reject(connectionFailure(OP, host, error));
    else resolve(typeof answer === 'string' ? [answer] : answer.map(({ address }) => address));
  });
  return promise.finally(() => signal.removeEventListener('abort', leave));
}

/** Path and query may both be what lets in whoever knows them: neither is told. */
const refused = ({ host }: URL, objection: string): UpstreamRefusedError =>
  new UpstreamRefusedError(OP, `the registry redirects to ${host}, which ${objection}; no client is sent there`);
