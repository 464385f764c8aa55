import { UpstreamRefusedError } from '../errors/cache-error.ts';
import { discard } from './body.ts';
import { single } from './failure.ts';
import { shown, type Answer, type Caller, type Question, type Transport } from './transport.ts';

export const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];

export const isRedirect = (status: number): boolean => REDIRECT_STATUSES.includes(status);

/** Who answers a 401 of an origin that another one redirected to. */
export interface Elsewhere {
  /** What such an origin is known to want; undefined for nothing. */
  authorization(url: URL, caller: Caller): Promise<string | undefined>;
  /** What to send after its 401; undefined where nothing can be had. The body of `answer` is unread where that was clear without a question. */
  renewed(answer: Answer, refused: string | undefined, caller: Caller): Promise<string | undefined>;
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
  question: Question,
  authorization: string | undefined,
  maxRedirects: number,
  elsewhere: Elsewhere,
  caller: Caller,
): Promise<Answer> {
  const send = async (hop: Question, sent: string | undefined): Promise<Answer> => {
    const headers = { ...question.headers, ...(sent === undefined ? {} : { authorization: sent }) };
    return await transport.send({ ...hop, headers }, transport.hosts.reachOf(hop.url), caller);
  };
  let hop = question;
  let sent = authorization;
  let hasLeft = false;
  for (let redirects = 0; ; redirects++) {
    let answer = await send(hop, sent);
    if (answer.status === 401 && hop.url.origin !== question.url.origin) {
      const renewed = await elsewhere.renewed(answer, sent, caller);
      if (renewed !== undefined) answer = await send(hop, renewed);
    }
    if (!isRedirect(answer.status)) return answer;
    await discard(answer.body);
    if (redirects >= maxRedirects) {
      throw refused(question, `redirected us more than ${maxRedirects} times`);
    }
    const url = nextUrl(question, answer, transport);
    const isOwn = url.origin === question.url.origin;
    hasLeft ||= !isOwn;
    hop = { ...question, kind: 'redirected', url };
    if (isOwn) sent = hasLeft ? undefined : authorization;
    else sent = await elsewhere.authorization(url, caller);
  }
}

function nextUrl(question: Question, answer: Answer, transport: Transport): URL {
  const location = single(answer.headers.location);
  if (location === undefined || !URL.canParse(location, answer.url.href)) {
    throw refused(question, `answered ${answer.status} without a usable Location`);
  }
  const url = new URL(location, answer.url);
  if (url.username !== '' || url.password !== '') {
    throw refused(question, `redirected us to ${url.host} with credentials in the address`);
  }
  if (url.origin === answer.url.origin || transport.hosts.isOrigin(url)) return url;
  if (url.protocol === 'https:' || (url.protocol === 'http:' && transport.hosts.redirects.names(url))) return url;
  throw refused(
    question,
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

const refused = (question: Question, what: string): NotFollowedError =>
  new NotFollowedError(question.op, `${shown(question.url)} ${what}; it was not followed`);
