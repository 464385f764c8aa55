import { UpstreamRefusedError } from '../errors/cache-error.ts';
import { discard } from './body.ts';
import { single } from './failure.ts';
import {
  shownUrl,
  type RegistryResponse,
  type RequestContext,
  type RegistryRequest,
  type Transport,
} from './transport.ts';

export const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];

export const isRedirect = (status: number): boolean => REDIRECT_STATUSES.includes(status);

/** Who answers a 401 of an origin that another one redirected to. */
export interface Elsewhere {
  /** What such an origin is known to want; undefined for nothing. */
  authorization(url: URL, context: RequestContext): Promise<string | undefined>;
  /** What to send after its 401; undefined where nothing can be had. The body of `answer` is unread where that was clear without a question. */
  renewed(answer: RegistryResponse, refused: string | undefined, context: RequestContext): Promise<string | undefined>;
}

/**
 * Sends the question and follows where its answers lead, by our own policy (I7, I8):
 *
 * - at most `maxRedirects` times;
 * - `Authorization` goes to the origin that was asked, and once that was left never again, not even back to it; what another origin wants is for
 *   {@link Elsewhere} to give, which knows no credentials;
 * - another origin must be https at a public address, unless the configuration names it.
 *
 * @throws UpstreamRefusedError where an answer leads elsewhere, or too far.
 */
export async function sendFollowing(
  transport: Transport,
  request: RegistryRequest,
  authorization: string | undefined,
  maxRedirects: number,
  elsewhere: Elsewhere,
  context: RequestContext,
): Promise<RegistryResponse> {
  const send = async (hop: RegistryRequest, sent: string | undefined): Promise<RegistryResponse> => {
    const headers = { ...request.headers, ...(sent === undefined ? {} : { authorization: sent }) };
    return await transport.send({ ...hop, headers }, transport.hosts.reachOf(hop.url), context);
  };
  let hop = request;
  let sent = authorization;
  let hasLeft = false;
  for (let redirects = 0; ; redirects++) {
    let answer = await send(hop, sent);
    if (answer.status === 401 && hop.url.origin !== request.url.origin) {
      const renewed = await elsewhere.renewed(answer, sent, context);
      if (renewed !== undefined) answer = await send(hop, renewed);
    }
    if (!isRedirect(answer.status)) return answer;
    await discard(answer.body);
    if (redirects >= maxRedirects) {
      throw refused(request, `redirected us more than ${maxRedirects} times`);
    }
    const url = nextUrl(request, answer, transport);
    const isOwn = url.origin === request.url.origin;
    hasLeft ||= !isOwn;
    hop = { ...request, kind: 'redirected', url };
    if (isOwn) sent = hasLeft ? undefined : authorization;
    else sent = await elsewhere.authorization(url, context);
  }
}

function nextUrl(request: RegistryRequest, answer: RegistryResponse, transport: Transport): URL {
  const location = single(answer.headers.location);
  if (location === undefined || !URL.canParse(location, answer.url.href)) {
    throw refused(request, `answered ${answer.status} without a usable Location`);
  }
  const url = new URL(location, answer.url);
  if (url.username !== '' || url.password !== '') {
    throw refused(request, `redirected us to ${url.host} with credentials in the address`);
  }
  if (url.origin === answer.url.origin || transport.hosts.isOrigin(url)) return url;
  if (url.protocol === 'https:' || (url.protocol === 'http:' && transport.hosts.redirects.names(url))) return url;
  throw refused(
    request,
    url.protocol === 'http:'
      ? `redirected us to http://${url.host}, which is not encrypted; if that is intended, add "http://${url.host}" to "redirects" of the registry`
      : `redirected us to an address that starts with ${JSON.stringify(url.protocol)}`,
  );
}

/** A redirect that was not followed: another question to the same registry may be answered without one. */
export class NotFollowedError extends UpstreamRefusedError {
  // To everybody else it is what it extends.
  override readonly name = 'UpstreamRefusedError';
}

const refused = (request: RegistryRequest, what: string): NotFollowedError =>
  new NotFollowedError(request.op, `${shownUrl(request.url)} ${what}; it was not followed`);
