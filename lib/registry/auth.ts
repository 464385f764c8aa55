import { DeniedError } from '../errors/cache-error.ts';
import { hostnameOf, type HostRules } from './address.ts';
import { discard } from './body.ts';
import { type Challenge, parseChallenges, parseRealm } from './challenge.ts';
import type { RegistryCredentials } from './credentials.ts';
import { answerFailure } from './failure.ts';
import { isTransient } from './retry.ts';
import { SingleFlight } from '../async/single-flight.ts';
import { basicAuthorization, type Tokens, type TokenPurpose } from './tokens.ts';
import type { UpstreamResponse, RequestContext, Transport } from './transport.ts';

const OP = 'authenticate';

/** The authentication scheme of a host. `open`: none. */
type Scheme =
  | { readonly kind: 'open' | 'basic' }
  | ({
      readonly kind: 'bearer';
      /** What a proxy in front of the registry puts before our repository path. */
      readonly prefix: string;
    } & Omit<TokenPurpose, 'scope'>);

interface AuthOptions {
  readonly base: URL;
  readonly realms: HostRules;
  readonly transport: Transport;
  readonly tokens: Tokens;
  /** Undefined for mirrors and redirect targets: they never see the registry's credentials. */
  readonly credentials: RegistryCredentials | undefined;
  /** Whether to request `/v2/` when a 401 has no challenge. */
  readonly mayPing: boolean;
}

/**
 * The `Authorization` of requests to one host.
 *
 * Anonymous pulls learn the scheme from the 401 of their first request and need no ping. With credentials `/v2/` is pinged
 * first: a registry that also serves anonymously may answer 404 for what only a login may see, and that is not "absent" (I6).
 */
export class Auth {
  readonly #options: AuthOptions;
  readonly #pinging = new SingleFlight<Scheme>();
  #scheme: Scheme | undefined;
  /** A new authorization that was refused. Fetching another one would not help. */
  #refusedWhenNew: string | undefined;

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** For the first try; undefined for none. */
  async authorization(path: string, context: RequestContext): Promise<string | undefined> {
    const credentials = await this.#options.credentials?.read(context.domain, context.signal);
    if (credentials?.kind === 'bearer') return `Bearer ${credentials.token}`;
    if (this.#scheme === undefined) {
      if (credentials === undefined) return undefined;
      this.#scheme = await this.#ping(context);
    }
    return await this.#authorizationBy(this.#scheme, path, context);
  }

  /** For the next try after an answer refused the authorization `refused`. Undefined if there is no other. Does not read the answer's body. */
  async renewed(
    { status, headers }: Pick<UpstreamResponse, 'status' | 'headers'>,
    refused: string | undefined,
    path: string,
    context: RequestContext,
  ): Promise<string | undefined> {
    const { credentials } = this.#options;
    const used = await credentials?.read(context.domain, context.signal);
    if (used?.kind === 'bearer') {
      const renewed = await credentials?.renew(used, context.domain, context.signal);
      return renewed?.kind === 'bearer' ? `Bearer ${renewed.token}` : undefined;
    }
    const stated = status === 401 ? this.#schemeOf(headers, path) : (this.#scheme ?? { kind: 'open' });
    // Some registries send their challenge only with /v2/.
    const scheme = stated.kind === 'open' && this.#options.mayPing ? await this.#ping(context) : stated;
    if (scheme.kind === 'bearer' && refused !== undefined) {
      this.#options.tokens.forget(purposeOf(scheme, path), context.domain, refused.replace(/^Bearer /, ''));
    }
    if (refused !== undefined && refused === this.#refusedWhenNew) {
      this.#refusedWhenNew = undefined;
      return undefined;
    }
    if (scheme.kind === 'basic' && used?.kind === 'basic' && refused === basicAuthorization(used)) {
      await credentials?.renew(used, context.domain, context.signal);
    }
    const authorization = await this.#authorizationBy(scheme, path, context);
    // Only after success: a realm without tokens must not block requests that need none.
    this.#scheme = scheme;
    return authorization === refused ? undefined : authorization;
  }

  /** Records that the result of {@link renewed} was refused, too. */
  refusedAgain(authorization: string): void {
    this.#refusedWhenNew = authorization;
  }

  async #authorizationBy(scheme: Scheme, path: string, context: RequestContext): Promise<string | undefined> {
    switch (scheme.kind) {
      case 'open':
        return undefined;
      case 'bearer':
        return `Bearer ${await this.#options.tokens.get(purposeOf(scheme, path), context)}`;
      case 'basic': {
        const credentials = await this.#options.credentials?.read(context.domain, context.signal);
        if (credentials === undefined) return undefined;
        if (credentials.kind === 'basic') return basicAuthorization(credentials);
        throw new DeniedError(
          OP,
          `${this.#options.base.host} requires a user name and password, but the stored credentials are an identity token; log in again`,
        );
      }
    }
  }

  async #ping(context: RequestContext): Promise<Scheme> {
    return await this.#pinging.run('', context.signal, (signal) => this.#pingOnce({ ...context, signal }));
  }

  async #pingOnce(context: RequestContext): Promise<Scheme> {
    const { base, transport } = this.#options;
    const url = apiUrl(base, '');
    const request = { op: OP, kind: 'ping', method: 'GET', url, headers: {} } as const;
    const answer = await transport.send(request, transport.hosts.reachOf(url), context);
    if (answer.status === 401) {
      await discard(answer.body);
      return this.#schemeOf(answer.headers, undefined);
    }
    if (answer.status >= 200 && answer.status < 300) {
      await discard(answer.body);
      return { kind: 'open' };
    }
    const failure = await answerFailure(OP, answer);
    if (isTransient(failure)) throw failure;
    // A host without /v2/ may still serve repositories, and answers 401 there if needed.
    return { kind: 'open' };
  }

  #schemeOf(headers: UpstreamResponse['headers'], path: string | undefined): Scheme {
    const challenges = parseChallenges(headers['www-authenticate']);
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'));
    if (bearer !== undefined) return this.#bearer(bearer, path);
    return { kind: challenges.some(({ scheme }) => scheme === 'basic') ? 'basic' : 'open' };
  }

  /** @throws UpstreamRefusedError for a realm that this host may not name (I7). */
  #bearer({ parameters }: Challenge, path: string | undefined): Scheme {
    const { base, realms } = this.#options;
    const realm = parseRealm(parameters.get('realm') ?? '', base, realms, this.#options.transport.hosts);
    const isOwnHost = hostnameOf(realm.url) === hostnameOf(base);
    const prefix = isOwnHost && path !== undefined ? prefixBefore(path, repositoriesIn(parameters)) : '';
    return { kind: 'bearer', prefix, realm, service: parameters.get('service') };
  }
}

/** We choose the scope, not the challenge: at most to pull this repository, with the prefix that its own host puts before it. */
const purposeOf = ({ realm, service, prefix }: Scheme & { kind: 'bearer' }, path: string): TokenPurpose => ({
  realm,
  service,
  scope: `repository:${prefix}${path}:pull`,
});

/** The repositories of the scopes, as in `repository:team/app:pull repository:base:pull`. */
function repositoriesIn(parameters: Challenge['parameters']): readonly string[] {
  const scopes = (parameters.get('scope') ?? '').split(/\s+/);
  return scopes.flatMap((scope) => /^repository:([^:]+):/.exec(scope)?.[1] ?? []);
}

function prefixBefore(path: string, repositories: readonly string[]): string {
  if (repositories.includes(path)) return '';
  return repositories.find((repository) => repository.endsWith(`/${path}`))?.slice(0, -path.length) ?? '';
}

/** The repository of the requested scope if it is not `path`: a proxy rewrites paths, or the registry is misconfigured. */
export function otherRepositoryIn(headers: UpstreamResponse['headers'], path: string): string | undefined {
  const wanted = parseChallenges(headers['www-authenticate']).flatMap(({ parameters }) => repositoriesIn(parameters));
  return wanted.includes(path) ? undefined : wanted[0];
}

/**
 * `https://host/v2/…`, after the path of the endpoint if it has one. A path with a part `v2` is a prefix of repositories:
 * `https://host/v2/proxy`, as in Harbor's proxy projects.
 */
export function apiUrl(base: URL, rest: string): URL {
  const url = new URL(base.origin);
  const path = base.pathname.replace(/\/+$/, '');
  const isOfRepositories = path.split('/').includes('v2');
  if (isOfRepositories) url.pathname = rest === '' ? `${path.replace(/\/v2(?:\/.*)?$/, '')}/v2/` : `${path}/${rest}`;
  else url.pathname = `${path}/v2/${rest}`;
  return url;
}
