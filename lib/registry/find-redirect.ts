import type { LookupFunction } from 'node:net';
import { BlobUnknownError, UpstreamRefusedError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { isPublicAddress } from './address.ts';
import { discard } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import { isRedirect, REDIRECT_STATUSES } from './redirect.ts';
import type { ApiRequest, Session } from './session.ts';
import { objectionTo } from './settings.ts';
import type { UpstreamResponse, RequestContext } from './transport.ts';

const OP = 'find redirect';

/** Where clients may be redirected, and how host names are resolved. */
export interface RedirectRules {
  readonly passRedirects: readonly string[];
  readonly lookup: LookupFunction;
}

/**
 * The URL to which the host redirects for the blob, if it is safe for clients. One try; the redirect is not followed.
 * Undefined if the host sends the bytes itself; none are read.
 *
 * Uses GET, because many registries answer HEAD without a redirect.
 *
 * @throws UpstreamRefusedError if clients must not be redirected there: by {@link objectionTo}, to the registry itself, to an
 * address that is not public, or with a credential of ours; BlobUnknownError on 404 and only then.
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

function locationIn(answer: UpstreamResponse, passRedirects: readonly string[]): URL {
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

/** Refuses hosts with a private address. The client's own DNS may still answer differently. */
async function requirePublic(url: URL, lookup: LookupFunction, signal: AbortSignal): Promise<void> {
  const addresses = await addressesOf(url.hostname, lookup, signal);
  const isPublic = addresses.length > 0 && addresses.every((address) => isPublicAddress(address));
  if (!isPublic) throw refused(url, `resolves to ${addresses.join(', ') || 'no address'}, not to public ones alone`);
}

/** A running look-up cannot be stopped; `signal` ends only the wait for it. */
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

/** Shows neither path nor query: both may grant access. */
const refused = ({ host }: URL, objection: string): UpstreamRefusedError =>
  new UpstreamRefusedError(OP, `the registry redirects to ${host}, which ${objection}; the client was not redirected`);
