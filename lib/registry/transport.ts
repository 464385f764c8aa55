import type { IncomingHttpHeaders } from 'node:http';
import type { LookupFunction } from 'node:net';
import manifest from '../../package.json' with { type: 'json' };
import type { TrustDomain } from '../reference/trust-domain.ts';
import { ConfiguredHosts, type Reach } from './address.ts';
import type { Body } from './body.ts';
import { type Connections, createConnections, type Traffic } from './connector.ts';
import { connectionFailure } from './failure.ts';
import { KnownSecrets } from './secrets.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';
import type { RefusalCounts, RequestCounts } from './upstream.ts';

/** The `User-Agent` for registries: `entrepot/0.1.0`. */
const USER_AGENT = `entrepot/${manifest.version}`;

/** What a request is for, as counted in the receipt. Tags and referrers count in the total only: no pull lists them. */
export type RequestKind = Exclude<keyof RequestCounts, 'total'> | 'tags' | 'referrers';

export interface UpstreamRequest {
  /** For errors: `read manifest`. */
  readonly op: string;
  readonly kind: RequestKind;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>> & { readonly authorization?: string };
  readonly body?: string;
}

/** The body must be consumed or destroyed. */
export interface UpstreamResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Body;
  /** The URL of the answer, after redirects. */
  readonly url: URL;
  /** For messages: the host that answered, with the registry's name if that differs. */
  readonly server: string;
  /** For messages: the same with the path. */
  readonly from: string;
  /** Time limit for reading a document, in addition to the time of its bytes (see `readBounded`). */
  readonly bodyTimeoutMs: number;
  /** Must not appear in messages. */
  readonly secrets: KnownSecrets;
}

/** The identity, counters and deadline of a caller's requests. */
export interface RequestContext {
  /** Requests use exactly the credential of this domain, because their content is recorded under it (I9). */
  readonly domain: TrustDomain;
  readonly counts: RequestCounts;
  readonly refusals: RefusalCounts;
  readonly signal: AbortSignal;
}

export const noRequests = (): RequestCounts => ({
  total: 0,
  ping: 0,
  token: 0,
  manifest: 0,
  blob: 0,
  redirected: 0,
});

export const noRefusals = (): RefusalCounts => ({ rateLimited: 0, credentialsRefused: 0 });

/** Host and path, for messages. Never the query, which may hold a signature. */
export const shownUrl = (url: URL): string => `${url.host}${url.pathname}`;

/** Secrets that a server could echo: the credential as sent, and decoded. */
function secretsOf({ headers, body }: UpstreamRequest): (string | null)[] {
  const [scheme, sent = ''] = headers.authorization?.split(' ') ?? [];
  const decoded = scheme === 'Basic' ? Buffer.from(sent, 'base64').toString('utf8') : '';
  const form = new URLSearchParams(body ?? '');
  return [sent, decoded, decoded.replace(/^[^:]*:/, ''), form.get('password'), form.get('refresh_token')];
}

const trafficOf = ({ kind, method }: UpstreamRequest): Traffic =>
  method === 'GET' && (kind === 'blob' || kind === 'redirected') ? 'bulk' : 'short';

/** Sends single requests to one registry over its own connections, and counts them. */
export class Transport {
  readonly hosts: ConfiguredHosts;
  /** All secrets sent to or received from the registry. */
  readonly secrets = new KnownSecrets();
  readonly #registry: string;
  readonly #limits: UpstreamLimits;
  readonly #connections: Connections;

  constructor(settings: RegistrySettings, limits: UpstreamLimits, lookup: LookupFunction | undefined) {
    this.hosts = new ConfiguredHosts(settings);
    this.#registry = settings.name;
    this.#limits = limits;
    this.#connections = createConnections(settings, this.hosts, limits, lookup);
  }

  /** The address, with the registry's name if that differs. */
  #shown(address: string, { host }: URL): string {
    return host === this.#registry ? address : `${address} (of registry ${this.#registry})`;
  }

  /**
   * One request, one answer, whatever its status. Redirects are not followed.
   *
   * @throws UpstreamUnavailableError if the connection failed; UpstreamRefusedError if it is not allowed; the signal's reason.
   */
  async send(
    request: UpstreamRequest,
    reach: Reach,
    { counts, refusals, signal }: RequestContext,
  ): Promise<UpstreamResponse> {
    const { op, method, url } = request;
    signal.throwIfAborted();
    this.secrets.add(...secretsOf(request));
    const dispatcher = this.#connections.to(url, reach, trafficOf(request));
    counts.total++;
    if (request.kind !== 'tags' && request.kind !== 'referrers') counts[request.kind]++;
    try {
      const answer = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        // `identity`: digests are those of the uncompressed bytes.
        headers: { 'user-agent': USER_AGENT, 'accept-encoding': 'identity', ...request.headers },
        body: request.body ?? null,
        signal,
      });
      if (answer.statusCode === 429) refusals.rateLimited++;
      // Destroying an unread body emits an error. A read that fails throws by itself.
      answer.body.on('error', () => undefined);
      return {
        status: answer.statusCode,
        headers: answer.headers,
        body: answer.body,
        url,
        server: this.#shown(url.host, url),
        from: this.#shown(shownUrl(url), url),
        bodyTimeoutMs: this.#limits.bodyTimeoutMs,
        secrets: this.secrets,
      };
    } catch (error) {
      signal.throwIfAborted();
      throw connectionFailure(op, this.#shown(shownUrl(url), url), error, url.protocol === 'http:');
    }
  }

  /** Closes all connections at once. */
  async close(): Promise<void> {
    await this.#connections.destroy();
  }
}
