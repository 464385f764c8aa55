import { CacheError, DeniedError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { isAnonymous } from '../reference/trust-domain.ts';
import { HostRules } from './address.ts';
import { apiUrl, Auth, otherRepositoryIn } from './auth.ts';
import type { RegistryCredentials } from './credentials.ts';
import { discard } from './body.ts';
import { answerFailure, clean, loginRefused, registryWords } from './failure.ts';
import { sendFollowing, type Elsewhere } from './redirect.ts';
import { isTransient, withRetries } from './retry.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';
import { Tokens } from './tokens.ts';
import type { RegistryResponse, RequestContext, Transport } from './transport.ts';

/** How long a mirror that could not be reached is left alone. */
const MIRROR_REST_MS = 30_000;
/** Other origins that a host redirects to and that want tokens of their own; nobody has more than a few. */
const MOST_FRONTED = 20;

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
  /** Statuses that the caller wants to see itself; any other one is thrown as what it means. `hint`: all but 429, once, and nothing is tried again but that. */
  readonly accepts: readonly number[] | 'hint';
  /** False: a redirect is an answer like any other. */
  readonly follow: boolean;
  /** Where the usual tries are too many. */
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

/** The conversation with one host of a registry: its endpoint or a mirror. */
export class Session {
  readonly isMirror: boolean;
  /** A mirror gets one try: there is somebody else to ask. */
  readonly limits: UpstreamLimits;
  readonly #base: URL;
  readonly #transport: Transport;
  readonly #auth: Auth;
  readonly #credentials: RegistryCredentials | undefined;
  /** The registry that a mirror is asked for: `?ns=`, as containerd does. */
  readonly #namespace: string | undefined;
  readonly #elsewhere: Elsewhere;
  #restsUntilMs = 0;

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
    this.#elsewhere = elsewhereOf((origin) => {
      const anonymous = { transport, credentials: undefined, realms, redirects };
      return new Auth({ ...anonymous, base: new URL(origin), tokens: new Tokens(anonymous), mayPing: false });
    });
  }

  /** A mirror that was found dead a moment ago. */
  get isCircuitOpen(): boolean {
    return Date.now() < this.#restsUntilMs;
  }

  /**
   * Asks, tries again what may pass, and gives the answer to `read` within the same try: a body that breaks is asked for again.
   *
   * @throws what the answer means, as the errors of the domain.
   */
  async ask<T>(
    request: ApiRequest,
    context: RequestContext,
    read: (answer: RegistryResponse) => Promise<T>,
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
      if (this.isMirror && error instanceof UpstreamUnavailableError) this.#restsUntilMs = Date.now() + MIRROR_REST_MS;
      throw error;
    }
  }

  async #askOnce(request: ApiRequest, context: RequestContext): Promise<RegistryResponse> {
    const authorization = await this.#auth.authorization(request.path, context);
    let answer = await this.#send(request, authorization, context);
    let sent = authorization;
    // Once only: a fresh token that is refused, too, is a refusal.
    if (this.#isRefusedToken(request, answer, authorization)) {
      // Reads the body first: it must not hold the connection that asking for a token may need.
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
   * What to send after a 401. A HEAD of a manifest that wants a token which cannot be had says no more than any other refused HEAD: GET decides. Not so with credentials:
   * there it is a refused login, and a second try could lock the account.
   */
  async #renewed(
    request: ApiRequest,
    answer: RegistryResponse,
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

  /** 401; or the 400 that ECR Public answers an expired token with: https://github.com/aws/containers-roadmap/issues/2835 */
  #isRefusedToken(
    { method, accepts }: ApiRequest,
    { status, url }: RegistryResponse,
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
  ): Promise<RegistryResponse> {
    const kinds = { manifest: 'manifests', blob: 'blobs', tags: 'tags', referrers: 'referrers' } as const;
    const { op, kind, method, headers } = request;
    const url = apiUrl(this.#base, `${request.path}/${kinds[kind]}/${request.reference}`);
    url.search = request.search ?? '';
    if (this.#namespace !== undefined) url.searchParams.set('ns', this.#namespace);
    const question = { op, kind, method, url, headers };
    if (request.follow) {
      const { redirects } = this.limits;
      return await sendFollowing(this.#transport, question, authorization, redirects, this.#elsewhere, context);
    }
    const secret = authorization === undefined ? {} : { authorization };
    const reach = this.#transport.hosts.reachOf(url);
    return await this.#transport.send({ ...question, headers: { ...headers, ...secret } }, reach, context);
  }

  /** A login that is refused is another matter than a repository that is missing, or that it may not read. */
  #refusal(status: number, sent: string | undefined, context: RequestContext): string {
    const login = this.#credentials?.describe(context.domain);
    if (login === undefined) {
      return 'the repository does not exist there, or may not be read without a login, and none is known for it; check "credentials" of the registry';
    }
    const wasLogin = sent?.startsWith('Basic ') === true || login.startsWith('the registry token');
    if (status === 401 && wasLogin) return loginRefused(login);
    return `the repository does not exist there, or may not be read by ${login}`;
  }

  async #failureOf(
    request: ApiRequest,
    answer: RegistryResponse,
    sent: string | undefined,
    context: RequestContext,
  ): Promise<Error> {
    const { status, from, url, headers } = answer;
    const isRefusal = status === 401 || status === 403;
    if (url.origin !== this.#base.origin && isRefusal) {
      // The storage behind a registry says so when a signed address has expired: a new one is one request away.
      const words = await registryWords(answer);
      return new UpstreamUnavailableError(
        request.op,
        `${from}, where ${this.#base.host} redirected us, answered ${status}${words}`,
      );
    }
    const failure = await answerFailure(request.op, answer, this.#refusal(status, sent, context));
    const other = isRefusal ? otherRepositoryIn(headers, request.path) : undefined;
    if (other === undefined) return failure;
    const why = `it wants a token for repository ${JSON.stringify(clean(other))}, and we ask for ${request.path}: a proxy in between may rewrite paths`;
    return new DeniedError(request.op, `${failure.message}; ${why}`);
  }
}

const isRateLimited = (error: unknown): error is RateLimitedError => error instanceof RateLimitedError;

/**
 * Tokens for the origins that a registry's front redirects to, and that are registries themselves (lscr.io leads to ghcr.io): asked for without credentials, each
 * at a realm that the origin itself may name (I7), and for the repository of the address.
 */
function elsewhereOf(authOf: (origin: string) => Auth): Elsewhere {
  const known = new Map<string, Auth>();
  return {
    async authorization(url, context) {
      const path = repositoryOf(url);
      return path === undefined ? undefined : await known.get(url.origin)?.authorization(path, context);
    },
    async renewed(answer, refused, context) {
      const path = repositoryOf(answer.url);
      if (path === undefined || answer.headers['www-authenticate'] === undefined) return undefined;
      // It must not hold the connection that asking for a token may need.
      await discard(answer.body);
      const { origin } = answer.url;
      if (!known.has(origin) && known.size >= MOST_FRONTED) known.clear();
      const auth = known.get(origin) ?? authOf(origin);
      known.set(origin, auth);
      return await auth.renewed(answer, refused, path, context);
    },
  };
}

const repositoryOf = ({ pathname }: URL): string | undefined =>
  /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\/[^/]+$/.exec(pathname)?.[1];

/** The hosts of one registry in the order in which they are asked: mirrors first. */
export interface Sources {
  readonly mirrors: readonly Session[];
  readonly endpoint: Session;
}
