import { UpstreamRefusedError } from '../errors/cache-error.ts';
import { discard } from './body.ts';
import { single } from './failure.ts';
import {
  shownUrl,
  type UpstreamResponse,
  type RequestContext,
  type UpstreamRequest,
  type Transport,
} from './transport.ts';

export const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];

export const isRedirect = (status: number): boolean => REDIRECT_STATUSES.includes(status);

/** Authorization for origins that a registry redirects to. */
export interface RedirectAuth {
  /** For the first try; undefined for none. */
  authorization(url: URL, context: RequestContext): Promise<string | undefined>;
  /** For the next try after a 401; undefined if there is none. The body of `answer` may be left unread then. */
  renewed(answer: UpstreamResponse, refused: string | undefined, context: RequestContext): Promise<string | undefined>;
}

/**
 * Sends the request and follows redirects by our own policy (I7, I8):
 *
 * - at most `maxRedirects` of them;
 * - `Authorization` goes only to the first origin, and never again after a redirect to another one; other origins get what
 *   {@link RedirectAuth} has, which knows no credentials;
 * - another origin must be https at a public address, unless the configuration names it.
 *
 * @throws UpstreamRefusedError if a redirect breaks these rules.
 */
export async function sendFollowing(
  transport: Transport,
  request: UpstreamRequest,
  authorization: string | undefined,
  maxRedirects: number,
  redirectAuth: RedirectAuth,
  context: RequestContext,
): Promise<UpstreamResponse> {
  const send = async (hop: UpstreamRequest, sent: string | undefined): Promise<UpstreamResponse> => {
    const headers = { ...request.headers, ...(sent === undefined ? {} : { authorization: sent }) };
    return await transport.send({ ...hop, headers }, transport.hosts.reachOf(hop.url), context);
  };
  let hop = request;
  let sent = authorization;
  let hasLeft = false;
  for (let redirects = 0; ; redirects++) {
    let answer = await send(hop, sent);
    if (answer.status === 401 && hop.url.origin !== request.url.origin) {
      const renewed = await redirectAuth.renewed(answer, sent, context);
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
    else sent = await redirectAuth.authorization(url, context);
  }
}

function nextUrl(request: UpstreamRequest, answer: UpstreamResponse, transport: Transport): URL {
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

/** A redirect was not followed. Another request to the same registry may work without one. */
export class NotFollowedError extends UpstreamRefusedError {
  // Callers outside need no distinction.
  override readonly name = 'UpstreamRefusedError';
}

const refused = (request: UpstreamRequest, what: string): NotFollowedError =>
  new NotFollowedError(request.op, `${shownUrl(request.url)} ${what}; it was not followed`);
