import { CacheError, DeniedError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { isAnonymous } from '../reference/trust-domain.ts';
import { HostRules } from './address.ts';
import { apiUrl, Auth, otherRepositoryIn } from './auth.ts';
import type { RegistryCredentials } from './credentials.ts';
import { discard } from './body.ts';
import { answerFailure, clean, loginRefused, registryWords } from './failure.ts';
import { sendFollowing, type RedirectAuth } from './redirect.ts';
import { isTransient, withRetries } from './retry.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';
import { Tokens } from './tokens.ts';
import type { UpstreamResponse, RequestContext, Transport } from './transport.ts';

/** How long the circuit of an unreachable mirror stays open. */
const CIRCUIT_OPEN_MS = 30_000;
/** Origins whose tokens are remembered; with more than that, all are forgotten. Real registries have few. */
const MOST_REDIRECT_ORIGINS = 20;

/** A request of the pull API for one repository. */
export interface ApiRequest {
  readonly op: string;
  readonly kind: 'manifest' | 'blob' | 'tags' | 'referrers';
  readonly method: 'GET' | 'HEAD';
  /** The repository: `library/alpine`. */
  readonly path: string;
  /** Tag or digest; `list` for tags. */
  readonly reference: string;
  /** The query, with its "?". */
  readonly search?: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Statuses passed to the caller; others are thrown as errors. `hint`: the answer is only advice (HEAD): every status but 429 is passed, and only 429 is retried. */
  readonly accepts: readonly number[] | 'hint';
  /** If false, a redirect is returned like any other answer. */
  readonly follow: boolean;
  /** Fewer tries than usual. */
  readonly attempts?: number;
}

interface SessionOptions {
  readonly settings: RegistrySettings;
  readonly limits: UpstreamLimits;
  readonly transport: Transport;
  readonly base: URL;
  /** The registry itself, with its credentials; absent for a mirror. */
  readonly credentials?: RegistryCredentials;
}

/** Sends requests to one host of a registry: its endpoint or a mirror. */
export class Session {
  readonly isMirror: boolean;
  /** A mirror gets one try: there is another host to use. */
  readonly limits: UpstreamLimits;
  readonly #base: URL;
  readonly #transport: Transport;
  readonly #auth: Auth;
  readonly #credentials: RegistryCredentials | undefined;
  /** The registry that a mirror stands for, sent as `?ns=` like containerd does. */
  readonly #namespace: string | undefined;
  readonly #redirectAuth: RedirectAuth;
  #openUntilMs = 0;

  constructor({ settings, limits, transport, base, credentials }: SessionOptions) {
    this.isMirror = base !== settings.endpoint;
    this.limits = this.isMirror ? { ...limits, attempts: 1 } : limits;
    this.#base = base;
    this.#credentials = credentials;
    this.#transport = transport;
    this.#namespace = this.isMirror ? settings.name : undefined;
    const realms = new HostRules(settings.realms);
    const { redirects } = limits;
    const tokens = new Tokens({ transport, credentials, realms, redirects });
    this.#auth = new Auth({ base, realms, transport, tokens, credentials, mayPing: true });
    this.#redirectAuth = redirectAuthOf((origin) => {
      const anonymous = { transport, credentials: undefined, realms, redirects };
      return new Auth({ ...anonymous, base: new URL(origin), tokens: new Tokens(anonymous), mayPing: false });
    });
  }

  /** Whether the mirror was unreachable a moment ago. */
  get isCircuitOpen(): boolean {
    return Date.now() < this.#openUntilMs;
  }

  /**
   * Sends the request with retries. `read` runs within the try, so a body that breaks is requested again.
   *
   * @throws the domain error that the answer means.
   */
  async ask<T>(
    request: ApiRequest,
    context: RequestContext,
    read: (answer: UpstreamResponse) => Promise<T>,
  ): Promise<T> {
    const { accepts, attempts = this.limits.attempts } = request;
    try {
      return await withRetries(
        { ...this.limits, attempts: Math.min(attempts, this.limits.attempts) },
        context.signal,
        async () => await read(await this.#askOnce(request, context)),
        accepts === 'hint' ? isRateLimited : isTransient,
      );
    } catch (error) {
      if (error instanceof DeniedError && !isAnonymous(context.domain)) context.refusals.credentialsRefused++;
      if (this.isMirror && error instanceof UpstreamUnavailableError) this.#openUntilMs = Date.now() + CIRCUIT_OPEN_MS;
      throw error;
    }
  }

  async #askOnce(request: ApiRequest, context: RequestContext): Promise<UpstreamResponse> {
    const authorization = await this.#auth.authorization(request.path, context);
    let answer = await this.#send(request, authorization, context);
    let sent = authorization;
    // Once only: if a new token is refused as well, access is denied.
    if (this.#isRefusedToken(request, answer, authorization)) {
      // Reads the body first: the token request may need this connection.
      const refusal = await this.#failureOf(request, answer, authorization, context);
      const renewed = await this.#renewed(request, answer, authorization, context);
      if (renewed === undefined && request.accepts !== 'hint') throw refusal;
      if (renewed !== undefined) {
        answer = await this.#send(request, renewed, context);
        sent = renewed;
        if (answer.status === 401) this.#auth.refusedAgain(renewed);
      }
    }
    const isWanted = request.accepts === 'hint' ? answer.status !== 429 : request.accepts.includes(answer.status);
    if (isWanted) return answer;
    throw await this.#failureOf(request, answer, sent, context);
  }

  /**
   * The authorization after a 401. Undefined if an anonymous HEAD of a manifest got no token: the GET that follows decides.
   * With credentials the error is thrown, because another refused login could lock the account.
   */
  async #renewed(
    request: ApiRequest,
    answer: UpstreamResponse,
    refused: string | undefined,
    context: RequestContext,
  ): Promise<string | undefined> {
    try {
      return await this.#auth.renewed(answer, refused, request.path, context);
    } catch (error) {
      context.signal.throwIfAborted();
      const { accepts, kind } = request;
      const isHint = accepts === 'hint' && kind === 'manifest' && isAnonymous(context.domain);
      if (!isHint || !(error instanceof CacheError) || isRateLimited(error)) throw error;
      return undefined;
    }
  }

  /** A 401, or the 400 of ECR Public for an expired token: https://github.com/aws/containers-roadmap/issues/2835 */
  #isRefusedToken(
    { method, accepts }: ApiRequest,
    { status, url }: UpstreamResponse,
    sent: string | undefined,
  ): boolean {
    if (url.origin !== this.#base.origin) return false;
    if (status === 401) return true;
    return (
      status === 400 &&
      sent?.startsWith('Bearer ') === true &&
      method === 'GET' &&
      accepts !== 'hint' &&
      !accepts.includes(400)
    );
  }

  async #send(
    request: ApiRequest,
    authorization: string | undefined,
    context: RequestContext,
  ): Promise<UpstreamResponse> {
    const kinds = { manifest: 'manifests', blob: 'blobs', tags: 'tags', referrers: 'referrers' } as const;
    const { op, kind, method, headers } = request;
    const url = apiUrl(this.#base, `${request.path}/${kinds[kind]}/${request.reference}`);
    url.search = request.search ?? '';
    if (this.#namespace !== undefined) url.searchParams.set('ns', this.#namespace);
    const httpRequest = { op, kind, method, url, headers };
    if (request.follow) {
      const { redirects } = this.limits;
      return await sendFollowing(this.#transport, httpRequest, authorization, redirects, this.#redirectAuth, context);
    }
    const secret = authorization === undefined ? {} : { authorization };
    const reach = this.#transport.hosts.reachOf(url);
    return await this.#transport.send({ ...httpRequest, headers: { ...headers, ...secret } }, reach, context);
  }

  /** The meaning of a 401 or 403: a refused login, or a repository that is missing or not readable. */
  #refusal(status: number, sent: string | undefined, context: RequestContext): string {
    const login = this.#credentials?.describe(context.domain);
    if (login === undefined) {
      return 'the repository does not exist there, or cannot be read without a login, and none is configured; check "credentials" of the registry';
    }
    const wasLogin = sent?.startsWith('Basic ') === true || login.startsWith('the registry token');
    if (status === 401 && wasLogin) return loginRefused(login);
    return `the repository does not exist there, or may not be read by ${login}`;
  }

  async #failureOf(
    request: ApiRequest,
    answer: UpstreamResponse,
    sent: string | undefined,
    context: RequestContext,
  ): Promise<Error> {
    const { status, from, url, headers } = answer;
    const isRefusal = status === 401 || status === 403;
    if (url.origin !== this.#base.origin && isRefusal) {
      // Storage answers this for an expired signed URL. A new request gets a new one.
      const words = await registryWords(answer);
      return new UpstreamUnavailableError(
        request.op,
        `${from}, to which ${this.#base.host} redirected us, answered ${status}${words}`,
      );
    }
    const failure = await answerFailure(request.op, answer, this.#refusal(status, sent, context));
    const other = isRefusal ? otherRepositoryIn(headers, request.path) : undefined;
    if (other === undefined) return failure;
    const why = `it requires a token for repository ${JSON.stringify(clean(other))}, but we request ${request.path}: a proxy in between may rewrite paths`;
    return new DeniedError(request.op, `${failure.message}; ${why}`);
  }
}

const isRateLimited = (error: unknown): error is RateLimitedError => error instanceof RateLimitedError;

/**
 * Anonymous tokens for other registries that a registry redirects to, as lscr.io does to ghcr.io. Each is requested for the
 * repository in the URL, from a realm that the origin may name (I7).
 */
function redirectAuthOf(authOf: (origin: string) => Auth): RedirectAuth {
  const known = new Map<string, Auth>();
  return {
    async authorization(url, context) {
      const path = repositoryOf(url);
      return path === undefined ? undefined : await known.get(url.origin)?.authorization(path, context);
    },
    async renewed(answer, refused, context) {
      const path = repositoryOf(answer.url);
      if (path === undefined || answer.headers['www-authenticate'] === undefined) return undefined;
      // The token request may need this connection.
      await discard(answer.body);
      const { origin } = answer.url;
      if (!known.has(origin) && known.size >= MOST_REDIRECT_ORIGINS) known.clear();
      const auth = known.get(origin) ?? authOf(origin);
      known.set(origin, auth);
      return await auth.renewed(answer, refused, path, context);
    },
  };
}

const repositoryOf = ({ pathname }: URL): string | undefined =>
  /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\/[^/]+$/.exec(pathname)?.[1];

/** The hosts of one registry in the order of use: mirrors first. */
export interface Sources {
  readonly mirrors: readonly Session[];
  readonly endpoint: Session;
}
