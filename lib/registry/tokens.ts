import { LRUCache } from 'lru-cache';
import { DeniedError, UpstreamRefusedError } from '../errors/cache-error.ts';
import { parseJson } from '../oci/descriptor.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { discard, readBounded } from './body.ts';
import type { RegistryCredentials } from './credentials.ts';
import type { Credentials } from './credential-reader.ts';
import type { HostRules } from './address.ts';
import {
  answerFailure,
  clean,
  connectionFailure,
  htmlWords,
  isHtml,
  loginRefused,
  registryWords,
  single,
} from './failure.ts';
import { movedRealm, type Realm } from './challenge.ts';
import { isRedirect } from './redirect.ts';
import { SingleFlight } from '../async/single-flight.ts';
import type { UpstreamResponse, RequestContext, UpstreamRequest, Transport } from './transport.ts';

const OP = 'get token';
const TOKEN_ANSWER_BYTES = 256 * 1024;
/** Also the default if the answer gives none: https://distribution.github.io/distribution/spec/auth/token/#token-response-fields */
const LEAST_LIFETIME_SECONDS = 60;
const MAX_MARGIN_MS = 10_000;
/** Bounds long-lived processes with many repositories, and hosts that name a new service each time. */
const MAX_ENTRIES = 100;

/** What a token is for. One token is cached for each. */
export interface TokenPurpose {
  readonly realm: Realm;
  readonly service: string | undefined;
  /** `repository:library/alpine:pull` */
  readonly scope: string;
}

interface Token {
  readonly text: string;
  readonly untilMs: number;
}

interface TokensOptions {
  readonly transport: Transport;
  readonly credentials: RegistryCredentials | undefined;
  /** Hosts that the configuration allows to receive credentials. */
  readonly realms: HostRules;
  /** Redirects followed for one token. */
  readonly redirects: number;
}

/**
 * The bearer tokens of one host, one per purpose and trust domain. Concurrent callers share one request. Failures are not cached;
 * the cache holds the {@link MAX_ENTRIES} tokens used last.
 */
export class Tokens {
  readonly #options: TokensOptions;
  readonly #tokens = new LRUCache<string, Token>({ max: MAX_ENTRIES });
  readonly #fetching = new SingleFlight<Token>();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /**
   * A token that is not known to be expired.
   *
   * @throws DeniedError if the realm refuses; UpstreamUnavailableError, RateLimitedError.
   */
  async get(purpose: TokenPurpose, context: RequestContext): Promise<string> {
    const key = keyOf(purpose, context.domain);
    const known = this.#tokens.get(key);
    if (known !== undefined && Date.now() < known.untilMs) return known.text;
    const token = await this.#fetching.run(key, context.signal, async (signal) => {
      const fetched = await this.#fetch(purpose, { ...context, signal });
      this.#tokens.set(key, fetched);
      return fetched;
    });
    return token.text;
  }

  /** Drops the token if it is still the `refused` one, so that the next `get` fetches a new one. */
  forget(purpose: TokenPurpose, domain: TrustDomain, refused: string): void {
    const key = keyOf(purpose, domain);
    if (this.#tokens.get(key)?.text === refused) this.#tokens.delete(key);
  }

  async #fetch(purpose: TokenPurpose, context: RequestContext): Promise<Token> {
    const credentials = await this.#options.credentials?.read(context.domain, context.signal);
    try {
      return await this.#fetchAs(credentials, purpose, context);
    } catch (error) {
      if (!(error instanceof DeniedError) || credentials === undefined) throw error;
      // The secret may have been rotated meanwhile.
      const renewed = await this.#options.credentials?.renew(credentials, context.domain, context.signal);
      if (renewed === undefined) throw error;
      return await this.#fetchAs(renewed, purpose, context);
    }
  }

  async #fetchAs(credentials: Credentials | undefined, purpose: TokenPurpose, context: RequestContext): Promise<Token> {
    const askedMs = Date.now();
    let answer = await this.#send(
      tokenRequest(credentials, purpose),
      purpose.realm,
      credentials !== undefined,
      context,
    );
    if ((answer.status === 404 || answer.status === 405) && credentials?.kind === 'basic') {
      // Some realms know only the OAuth2 form: https://distribution.github.io/distribution/spec/auth/oauth/
      await discard(answer.body);
      answer = await this.#send(passwordRequest(credentials, purpose), purpose.realm, true, context);
    }
    const login = this.#options.credentials?.describe(context.domain);
    const refusal =
      login === undefined
        ? 'it gives no token without a login; check "credentials" of the registry'
        : loginRefused(login);
    // A refusal in OAuth2: https://www.rfc-editor.org/rfc/rfc6749#section-5.2
    if (answer.status === 400 && login !== undefined) {
      throw new DeniedError(OP, `${answer.from} answered 400${await registryWords(answer)}: ${refusal}`);
    }
    return await readToken(answer, askedMs, refusal, context.signal);
  }

  /**
   * Sends the request and follows redirects. With credentials only to the realm's own host or a configured realm (I7).
   */
  async #send(
    request: UpstreamRequest,
    realm: Realm,
    isSecret: boolean,
    context: RequestContext,
  ): Promise<UpstreamResponse> {
    const { transport, realms, redirects } = this.#options;
    let hop: UpstreamRequest = request;
    let { reach } = realm;
    for (let followed = 0; ; followed++) {
      const answer = await transport.send(hop, reach, context);
      if (!isRedirect(answer.status)) return answer;
      await discard(answer.body);
      if (followed >= redirects) {
        throw new UpstreamRefusedError(
          OP,
          `${answer.from} redirected us more than ${redirects} times; no token was fetched`,
        );
      }
      const moved = movedRealm(answer, isSecret, realms, transport.hosts);
      if (request.method === 'POST' && answer.status === 303) {
        throw new UpstreamRefusedError(
          OP,
          `${answer.from} answered 303 to a request that carries a login; it was not followed`,
        );
      }
      hop = { ...request, url: moved.url };
      ({ reach } = moved);
    }
  }
}

type BasicCredentials = Extract<Credentials, { kind: 'basic' }>;

const bytesOf = (text: string, { asBytes }: BasicCredentials): Buffer =>
  Buffer.from(text, asBytes === true ? 'latin1' : 'utf8');

export const basicAuthorization = (credentials: BasicCredentials): string =>
  `Basic ${bytesOf(`${credentials.username}:${credentials.password}`, credentials).toString('base64')}`;

function tokenRequest(credentials: Credentials | undefined, { realm, service, scope }: TokenPurpose): UpstreamRequest {
  if (credentials?.kind === 'identity') {
    const { identityToken } = credentials;
    return postRequest(realm, { grant_type: 'refresh_token', refresh_token: identityToken, service, scope });
  }
  const url = new URL(realm.url);
  if (service !== undefined) url.searchParams.set('service', service);
  url.searchParams.set('scope', scope);
  const headers = credentials?.kind === 'basic' ? { authorization: basicAuthorization(credentials) } : {};
  return { op: OP, kind: 'token', method: 'GET', url, headers };
}

function passwordRequest(credentials: BasicCredentials, { realm, service, scope }: TokenPurpose): UpstreamRequest {
  const { username, password } = credentials;
  const login = { username: bytesOf(username, credentials), password: bytesOf(password, credentials) };
  return postRequest(realm, { grant_type: 'password', ...login, service, scope });
}

function postRequest(realm: Realm, fields: Readonly<Record<string, string | Buffer | undefined>>): UpstreamRequest {
  const form = ['client_id=entrepot'];
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) form.push(`${name}=${formEncoded(value)}`);
  }
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return { op: OP, kind: 'token', method: 'POST', url: realm.url, headers, body: form.join('&') };
}

/** Unlike URLSearchParams, also encodes bytes that are not UTF-8. */
const formEncoded = (value: string | Buffer): string =>
  Buffer.from(value)
    .toString('latin1')
    .replace(/[^\w.*-]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);

async function readToken(
  answer: UpstreamResponse,
  askedMs: number,
  refusal: string,
  signal: AbortSignal,
): Promise<Token> {
  if (answer.status !== 200) throw await answerFailure(OP, answer, refusal);
  const read = await readBounded(answer.body, TOKEN_ANSWER_BYTES, answer.bodyTimeoutMs).catch((error: unknown) => {
    signal.throwIfAborted();
    throw connectionFailure(OP, answer.from, error);
  });
  const {
    token,
    access_token: accessToken,
    refresh_token: refreshToken,
    expires_in: expiresIn,
  } = parseAnswer(read.bytes);
  answer.secrets.add(token, accessToken, refreshToken);
  const text = typeof token === 'string' && token !== '' ? token : accessToken;
  // Checked, because it is sent in a header.
  if (read.truncated || typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text)) {
    throw new UpstreamRefusedError(
      OP,
      `${answer.from} answered 200, but with no usable token${tokenWords(answer, read.bytes)}`,
    );
  }
  // The specification has no shorter lifetime; some servers send 0 for an unknown one.
  const seconds = Math.max(LEAST_LIFETIME_SECONDS, typeof expiresIn === 'number' ? expiresIn : 0);
  const lifetimeMs = seconds * 1000;
  return { text, untilMs: askedMs + lifetimeMs - Math.min(MAX_MARGIN_MS, lifetimeMs / 10) };
}

/** An HTML page holds no token, so it may be quoted. Anything else may hold one. */
function tokenWords({ headers }: UpstreamResponse, bytes: Buffer): string {
  const text = bytes.toString('utf8');
  const type = single(headers['content-type']) ?? 'no content type';
  return ` (${isHtml(text) ? htmlWords(text) : clean(type)})`;
}

function parseAnswer(bytes: Buffer): Record<string, unknown> {
  try {
    const parsed = parseJson(bytes);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}

/** Includes the domain, because a token of one credential proves nothing for another (I9). */
const keyOf = ({ realm, service, scope }: TokenPurpose, domain: TrustDomain): string =>
  JSON.stringify([realm.url.href, service, scope, domain]);
