import { lookup as systemLookup } from 'node:dns';
import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, errors, ProxyAgent } from 'undici';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { type ConfiguredHosts, hostnameOf, isPublicAddress, type Reach } from './address.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;

/**
 * Aborts a request without final headers `timeoutMs` after it was sent. undici's own `headersTimeout` restarts with each 1xx
 * answer and each byte, so a slow server could hold a connection for ever. Waiting for a free connection does not count.
 */
const boundedHeaders =
  (timeoutMs: number): Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) =>
    dispatch(options, new BoundedHeaders(handler, timeoutMs));

class BoundedHeaders implements Handler {
  readonly #inner: Handler;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(inner: Handler, timeoutMs: number) {
    this.#inner = inner;
    this.#timeoutMs = timeoutMs;
  }

  onRequestStart(controller: Controller, context: unknown): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      controller.abort(new errors.HeadersTimeoutError(`no headers within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    this.#inner.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(...args: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    clearTimeout(this.#timer);
    this.#inner.onRequestUpgrade?.(...args);
  }

  onResponseStart(...args: Parameters<NonNullable<Handler['onResponseStart']>>): void {
    const [, statusCode] = args;
    if (statusCode >= 200) clearTimeout(this.#timer);
    this.#inner.onResponseStart?.(...args);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#inner.onResponseData?.(controller, chunk);
  }

  onResponseEnd(...args: Parameters<NonNullable<Handler['onResponseEnd']>>): void {
    clearTimeout(this.#timer);
    this.#inner.onResponseEnd?.(...args);
  }

  onResponseError(controller: Controller, error: Error): void {
    clearTimeout(this.#timer);
    this.#inner.onResponseError?.(controller, error);
  }

  onBodySent(chunk: Buffer): void {
    this.#inner.onBodySent?.(chunk);
  }

  onRequestSent(): void {
    this.#inner.onRequestSent?.();
  }
}

const KEEP_ALIVE_MS = 10_000;
const OP = 'connect';

/** `bulk`: reads of blobs. They have their own connections, so that slow ones never delay short requests. */
export type Traffic = 'bulk' | 'short';

/** The connections of one registry. For each kind of traffic one set for configured hosts, and one with checked sockets. */
export interface Connections {
  /** @throws UpstreamRefusedError for a private host behind a proxy, where the socket cannot be checked. */
  to(url: URL, reach: Reach, traffic: Traffic): Dispatcher;
  /** Closes all connections at once. */
  destroy(): Promise<void>;
}

/** Opens no connection yet. `lookup` resolves host names; tests replace it. */
export function createConnections(
  settings: RegistrySettings,
  hosts: ConfiguredHosts,
  limits: UpstreamLimits,
  lookup: LookupFunction = systemLookup,
): Connections {
  // Not tls.rootCertificates, which lacks NODE_EXTRA_CA_CERTS.
  const tls = settings.ca === undefined ? {} : { ca: [...getCACertificates('default'), settings.ca] };
  const options = {
    connections: settings.maxConnections,
    headersTimeout: limits.headersTimeoutMs,
    bodyTimeout: limits.bodyTimeoutMs,
    connectTimeout: limits.connectTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
  };
  if (settings.proxy !== undefined) {
    const { href: uri } = settings.proxy;
    const proxies = ofEach(() => new ProxyAgent({ ...options, uri, requestTls: tls, proxyTls: tls }));
    const bounded = ofEach((traffic) => proxies[traffic].compose(boundedHeaders(limits.headersTimeoutMs)));
    return {
      to: (url, reach, traffic) => {
        if (reach === 'public') refusePrivateName(url, hosts);
        return bounded[traffic];
      },
      destroy: async () => {
        await Promise.all([proxies.bulk.destroy(), proxies.short.destroy()]);
      },
    };
  }
  const connecting = new Set<Socket>();
  const agentFor = (checkedBy: ConfiguredHosts | undefined): Agent =>
    new Agent({
      ...options,
      connect: checkedConnector({ tls, lookup, connectTimeoutMs: limits.connectTimeoutMs, connecting, checkedBy }),
    });
  const agents = ofEach(() => ({ configured: agentFor(undefined), public: agentFor(hosts) }));
  const inTime = boundedHeaders(limits.headersTimeoutMs);
  const bounded = ofEach((traffic) => ({
    configured: agents[traffic].configured.compose(inTime),
    public: agents[traffic].public.compose(inTime),
  }));
  return {
    to: (_url, reach, traffic) => bounded[traffic][reach],
    destroy: async () => {
      for (const socket of connecting) socket.destroy();
      await Promise.all([agents.bulk, agents.short].flatMap((of) => [of.configured.destroy(), of.public.destroy()]));
    },
  };
}

const ofEach = <T>(make: (traffic: Traffic) => T): Readonly<Record<Traffic, T>> => ({
  bulk: make('bulk'),
  short: make('short'),
});

/** Names that are valid on one network only: RFC 6761, 6762 and 8375, and ICANN's reservation of `.internal`. */
const PRIVATE_NAME = /(?:^|\.)(?:internal|local|localhost|localdomain|home\.arpa)$/;

/**
 * A proxy resolves names itself, so we cannot check the socket's address (I8). We refuse private addresses and names that no
 * public host has. Public names with a private address must be refused by the proxy's own rules.
 */
function refusePrivateName(url: URL, hosts: ConfiguredHosts): void {
  const host = hostnameOf(url);
  const isPrivate = isIP(host) === 0 ? !host.includes('.') || PRIVATE_NAME.test(host) : !isPublicAddress(host);
  if (isPrivate) throw refusal(hosts, host, host);
}

function refusal(hosts: ConfiguredHosts, host: string, address: string): UpstreamRefusedError {
  const at = host === address ? host : `${host} (${address})`;
  return new UpstreamRefusedError(
    OP,
    `${at} is not a public address, so no connection was made; if it is intended, ${hosts.permissionFor(host)}`,
  );
}

interface ConnectorOptions {
  readonly tls: { readonly ca?: string[] };
  readonly lookup: LookupFunction;
  readonly connectTimeoutMs: number;
  /** Sockets that are still connecting, so that closing can end them. */
  readonly connecting: Set<Socket>;
  /** Undefined: every address is allowed, because the configuration names the host. */
  readonly checkedBy: ConfiguredHosts | undefined;
}

/**
 * Connects to permitted addresses only. Others are dropped from the DNS answer, and the address of the connected socket is
 * checked again before any byte is sent.
 */
function checkedConnector(options: ConnectorOptions): buildConnector.connector {
  const { checkedBy, connecting } = options;
  const secure = buildConnector({ ...options.tls, timeout: options.connectTimeoutMs, allowH2: false });
  return (target, callback) => {
    const host = target.hostname;
    const fail = (error: Error): void => callback(error, null);
    if (checkedBy !== undefined && isIP(host) !== 0 && !checkedBy.permits(host)) {
      setImmediate(fail, refusal(checkedBy, host, host));
      return;
    }
    const socket = connect({
      host,
      port: Number(target.port === '' ? (target.protocol === 'https:' ? 443 : 80) : target.port),
      lookup: checkedBy === undefined ? options.lookup : checkedLookup(options.lookup, checkedBy),
      keepAlive: true,
      noDelay: true,
    });
    connecting.add(socket);
    const timer = setTimeout(() => socket.destroy(connectTimeout(host)), options.connectTimeoutMs);
    const settle = (error: Error | undefined): void => {
      if (!connecting.delete(socket)) return;
      clearTimeout(timer);
      if (error !== undefined) fail(error);
      else if (target.protocol === 'https:') secure({ ...target, httpSocket: socket }, callback);
      else callback(null, socket);
    };
    // This listener stays, because an 'error' event without a listener ends the process. The TLS socket reports errors itself.
    socket.on('error', (error) => settle(error));
    socket.once('close', () => settle(new Error(`connection to ${host} closed`)));
    socket.once('connect', () => {
      const address = socket.remoteAddress ?? '';
      if (checkedBy === undefined || checkedBy.permits(address)) settle(undefined);
      else socket.destroy(refusal(checkedBy, host, address));
    });
  };
}

function connectTimeout(host: string): UpstreamUnavailableError {
  return new UpstreamUnavailableError(OP, `connecting to ${host} took too long`, { timedOut: true });
}

function checkedLookup(lookup: LookupFunction, hosts: ConfiguredHosts): LookupFunction {
  return (host, options, callback) => {
    lookup(host, { ...options, all: true }, (error, answer) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const addresses = typeof answer === 'string' ? [{ address: answer, family: isIP(answer) }] : answer;
      const permitted = addresses.filter(({ address }) => hosts.permits(address));
      const [first] = permitted;
      if (first === undefined) callback(refusal(hosts, host, addresses[0]?.address ?? 'no address'), []);
      else if (options.all === true) callback(null, permitted);
      else callback(null, first.address, first.family);
    });
  };
}
