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
 * Ends a request whose final headers have not come within `timeoutMs` of its sending. undici's own `headersTimeout` begins anew with each 1xx answer and with each
 * byte, so that a server that drips holds a connection for good. The time in the queue for a connection does not count.
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

/** `bulk`: blobs that are read. They have connections of their own, so that slow ones never hold up a short question. */
export type Traffic = 'bulk' | 'short';

/** The connections of one registry, for each kind of traffic: one set for configured hosts, one whose sockets are checked. */
export interface Connections {
  /** @throws UpstreamRefusedError for a private host behind a proxy, where the socket cannot be checked. */
  to(url: URL, reach: Reach, traffic: Traffic): Dispatcher;
  /** Breaks all connections. */
  destroy(): Promise<void>;
}

/** Opens nothing yet. `lookup` resolves host names; tests replace it. */
export function createConnections(
  settings: RegistrySettings,
  hosts: ConfiguredHosts,
  limits: UpstreamLimits,
  lookup: LookupFunction = systemLookup,
): Connections {
  // getCACertificates and not tls.rootCertificates: it also has what NODE_EXTRA_CA_CERTS adds.
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

/** Names that mean something on one network only: RFC 6761, 6762 and 8375, and ICANN's reservation of `.internal`. */
const PRIVATE_NAME = /(?:^|\.)(?:internal|local|localhost|localdomain|home\.arpa)$/;

/**
 * Behind a proxy the proxy resolves names and connects, so the socket's address cannot be checked (I8); what can be seen from here is refused from here:
 * private addresses, and names that no public host has. That a public name leads to a private address is for the proxy's own rules to refuse.
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
    `${at} is not a public address, so it was not dialled; if that is intended, ${hosts.permissionFor(host)}`,
  );
}

interface ConnectorOptions {
  readonly tls: { readonly ca?: string[] };
  readonly lookup: LookupFunction;
  readonly connectTimeoutMs: number;
  /** Sockets on their way, so that closing can end them. */
  readonly connecting: Set<Socket>;
  /** Undefined: every address is good, because the configuration names the host. */
  readonly checkedBy: ConfiguredHosts | undefined;
}

/**
 * Connects to permitted addresses only: refused addresses are dropped from the name's answer before anything is dialled, and the connected
 * socket's own address is checked again before a byte (of TLS, too) is sent.
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
    // The first listener stays after the handover: a TLS socket reports errors of the raw one itself, but this one must not be without any.
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
