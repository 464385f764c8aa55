import { DeniedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import { HostRules } from './address.ts';
import { apiUrl, Auth } from './auth.ts';
import { discard } from './body.ts';
import type { RegistryCredentials } from './credentials.ts';
import { answerFailure } from './failure.ts';
import { sendFollowing } from './redirect.ts';
import { withRetries } from './retry.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';
import { Tokens } from './tokens.ts';
import { shown, type Answer, type Caller, type Transport } from './transport.ts';

/** How long a mirror that could not be reached is left alone. */
const MIRROR_REST_MS = 30_000;

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
  /** Statuses that the caller wants to see itself; any other one is thrown as what it means. */
  readonly accepts: readonly number[];
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
  #restsUntilMs = 0;

  constructor({ settings, limits, transport, base, credentials }: SessionOptions) {
    this.isMirror = base !== settings.endpoint;
    this.limits = this.isMirror ? { ...limits, attempts: 1 } : limits;
    this.#base = base;
    this.#transport = transport;
    const tokens = new Tokens(transport, credentials);
    const realms = new HostRules(settings.realms);
    this.#auth = new Auth({ base, realms, transport, tokens, credentials });
  }

  /** A mirror that was found dead a moment ago. */
  get isResting(): boolean {
    return Date.now() < this.#restsUntilMs;
  }

  /**
   * Asks, tries again what may pass, and gives the answer to `read` within the same try: a body that breaks is asked for again.
   *
   * @throws what the answer means, as the errors of the domain.
   */
  async ask<T>(request: ApiRequest, caller: Caller, read: (answer: Answer) => Promise<T>): Promise<T> {
    const { attempts = this.limits.attempts } = request;
    try {
      return await withRetries(
        { ...this.limits, attempts: Math.min(attempts, this.limits.attempts) },
        caller.signal,
        async () => await read(await this.#askOnce(request, caller)),
      );
    } catch (error) {
      if (error instanceof DeniedError && caller.domain !== PUBLIC) caller.refusals.credentialsRefused++;
      if (this.isMirror && error instanceof UpstreamUnavailableError) this.#restsUntilMs = Date.now() + MIRROR_REST_MS;
      throw error;
    }
  }

  async #askOnce(request: ApiRequest, caller: Caller): Promise<Answer> {
    const authorization = await this.#auth.authorization(request.path, caller);
    let answer = await this.#send(request, authorization, caller);
    // Once only: a fresh token that is refused, too, is a refusal.
    if (answer.status === 401 && answer.url.origin === this.#base.origin) {
      // Reads the body first: it must not hold the connection that asking for a token may need.
      const refusal = await this.#failureOf(request, answer);
      const renewed = await this.#auth.renewed(answer.headers, authorization, request.path, caller);
      if (renewed === undefined) throw refusal;
      answer = await this.#send(request, renewed, caller);
    }
    if (request.accepts.includes(answer.status)) return answer;
    throw await this.#failureOf(request, answer);
  }

  async #send(request: ApiRequest, authorization: string | undefined, caller: Caller): Promise<Answer> {
    const kinds = { manifest: 'manifests', blob: 'blobs', tags: 'tags', referrers: 'referrers' } as const;
    const { op, kind, method, headers } = request;
    const url = apiUrl(this.#base, `${request.path}/${kinds[kind]}/${request.reference}`);
    url.search = request.search ?? '';
    const question = { op, kind, method, url, headers };
    if (request.follow) {
      return await sendFollowing(this.#transport, question, authorization, this.limits.redirects, caller);
    }
    const secret = authorization === undefined ? {} : { authorization };
    const reach = this.#transport.hosts.reachOf(url);
    return await this.#transport.send({ ...question, headers: { ...headers, ...secret } }, reach, caller);
  }

  async #failureOf(request: ApiRequest, answer: Answer): Promise<Error> {
    const where = shown(answer.url);
    if (answer.url.origin !== this.#base.origin && (answer.status === 401 || answer.status === 403)) {
      // The storage behind a registry says so when a signed address has expired: a new one is one request away.
      await discard(answer.body);
      return new UpstreamUnavailableError(
        request.op,
        `${where}, where ${this.#base.host} redirected us, answered ${answer.status}`,
      );
    }
    return await answerFailure(request.op, where, answer);
  }
}

/** The hosts of one registry in the order in which they are asked: mirrors first. */
export interface Sources {
  readonly mirrors: readonly Session[];
  readonly endpoint: Session;
}
