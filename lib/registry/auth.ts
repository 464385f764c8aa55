import { DeniedError } from '../errors/cache-error.ts';
import type { HostRules } from './address.ts';
import { discard } from './body.ts';
import { parseChallenges, type Challenge } from './challenge.ts';
import type { RegistryCredentials } from './credentials.ts';
import { answerFailure } from './failure.ts';
import { parseRealm } from './realm.ts';
import { isTransient } from './retry.ts';
import { SharedWork } from './shared-work.ts';
import { basicAuthorization, type Tokens, type TokenPurpose } from './tokens.ts';
import { shown, type Answer, type Caller, type Transport } from './transport.ts';

const OP = 'authenticate';

/** How a host wants to be asked. `open`: it said nothing. */
type Scheme = { readonly kind: 'open' | 'basic' } | ({ readonly kind: 'bearer' } & Omit<TokenPurpose, 'scope'>);

interface AuthOptions {
  readonly base: URL;
  readonly realms: HostRules;
  readonly transport: Transport;
  readonly tokens: Tokens;
  /** Undefined for mirrors, which never see the registry's. */
  readonly credentials: RegistryCredentials | undefined;
}

/**
 * The `Authorization` of requests to one host.
 *
 * How the host wants to be asked is learnt from the 401 of the first request, which spares anonymous pulls the ping. With credentials `/v2/` is
 * asked first: a registry that also serves anonymously could answer 404 for what only the credentials may see, and that must not be read as absent (I6).
 */
export class Auth {
  readonly #options: AuthOptions;
  readonly #pinging = new SharedWork<Scheme>();
  #scheme: Scheme | undefined;

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** What to send with the first try; undefined for nothing. */
  async authorization(path: string, caller: Caller): Promise<string | undefined> {
    if (this.#scheme === undefined) {
      const credentials = await this.#options.credentials?.read(caller.domain, caller.signal);
      if (credentials === undefined) return undefined;
      this.#scheme = await this.#ping(caller);
    }
    return await this.#authorizationBy(this.#scheme, path, caller);
  }

  /** What to send after a 401 for `refused`; undefined if there is nothing better. */
  async renewed(
    headers: Answer['headers'],
    refused: string | undefined,
    path: string,
    caller: Caller,
  ): Promise<string | undefined> {
    const told = this.#schemeOf(headers);
    // Some registries send their challenge with /v2/ alone.
    const scheme = told.kind === 'open' ? await this.#ping(caller) : told;
    this.#scheme = scheme;
    if (scheme.kind === 'bearer' && refused !== undefined) {
      this.#options.tokens.forget(purposeOf(scheme, path), caller.domain, refused.replace(/^Bearer /, ''));
    }
    const { credentials } = this.#options;
    const used = await credentials?.read(caller.domain, caller.signal);
    if (scheme.kind === 'basic' && used?.kind === 'basic' && refused === basicAuthorization(used)) {
      await credentials?.renew(used, caller.domain, caller.signal);
    }
    const authorization = await this.#authorizationBy(scheme, path, caller);
    return authorization === refused ? undefined : authorization;
  }

  async #authorizationBy(scheme: Scheme, path: string, caller: Caller): Promise<string | undefined> {
    switch (scheme.kind) {
      case 'open':
        return undefined;
      case 'bearer':
        return `Bearer ${await this.#options.tokens.get(purposeOf(scheme, path), caller)}`;
      case 'basic': {
        const credentials = await this.#options.credentials?.read(caller.domain, caller.signal);
        if (credentials?.kind !== 'identity') return credentials && basicAuthorization(credentials);
        throw new DeniedError(
          OP,
          `${this.#options.base.host} wants a user name and password, but its credentials are an identity token; log in again`,
        );
      }
    }
  }

  async #ping(caller: Caller): Promise<Scheme> {
    return await this.#pinging.run(caller.signal, (signal) => this.#pingOnce({ ...caller, signal }));
  }

  async #pingOnce(caller: Caller): Promise<Scheme> {
    const { base, transport } = this.#options;
    const url = apiUrl(base, '');
    const question = { op: OP, kind: 'ping', method: 'GET', url, headers: {} } as const;
    const answer = await transport.send(question, transport.hosts.reachOf(url), caller);
    if (answer.status === 401) {
      await discard(answer.body);
      return this.#schemeOf(answer.headers);
    }
    if (answer.status >= 200 && answer.status < 300) {
      await discard(answer.body);
      return { kind: 'open' };
    }
    const failure = await answerFailure(OP, shown(url), answer);
    if (isTransient(failure)) throw failure;
    // A host that has no /v2/ of its own may still answer for a repository, and says 401 there if it must.
    return { kind: 'open' };
  }

  #schemeOf(headers: Answer['headers']): Scheme {
    const challenges = parseChallenges(headers['www-authenticate']);
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'));
    if (bearer !== undefined) return this.#bearer(bearer);
    return { kind: challenges.some(({ scheme }) => scheme === 'basic') ? 'basic' : 'open' };
  }

  /** @throws UpstreamRefusedError for a realm that is not this host's (I7). */
  #bearer({ parameters }: Challenge): Scheme {
    const { base, realms } = this.#options;
    const realm = parseRealm(parameters.get('realm') ?? '', base, realms, this.#options.transport.hosts);
    return { kind: 'bearer', realm, service: parameters.get('service') };
  }
}

/** The scope is ours, whatever the challenge asks for: never more than to pull this repository. */
const purposeOf = (scheme: Omit<TokenPurpose, 'scope'>, path: string): TokenPurpose => ({
  realm: scheme.realm,
  service: scheme.service,
  scope: `repository:${path}:pull`,
});

/** `https://host/v2/…`, behind the path of the endpoint if it has one. */
export function apiUrl(base: URL, rest: string): URL {
  const url = new URL(base.origin);
  url.pathname = `${base.pathname.replace(/\/+$/, '')}/v2/${rest}`;
  return url;
}
