import { lookup as systemLookup } from 'node:dns';
import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, buildConnector, ProxyAgent, type Dispatcher } from 'undici';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { hostOf, isPublicAddress, type ConfiguredHosts, type Reach } from './address.ts';
import type { RegistrySettings, UpstreamLimits } from './settings.ts';

const KEEP_ALIVE_MS = 10_000;
const OP = 'connect';

/** The connections of one registry: one set for configured hosts, one whose sockets are checked. */
export interface Connections {
  /** @throws UpstreamRefusedError for a private host behind a proxy, where the socket cannot be checked. */
  to(url: URL, reach: Reach): Dispatcher;
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
    const proxy = new ProxyAgent({ ...options, uri: settings.proxy.href, requestTls: tls, proxyTls: tls });
    return {
      to: (url, reach) => {
        if (reach === 'public') refusePrivateName(url);
        return proxy;
      },
      destroy: () => proxy.destroy(),
    };
  }
  const connecting = new Set<Socket>();
  const agentFor = (permits?: (address: string) => boolean): Agent =>
    new Agent({
      ...options,
      connect: checkedConnector({ tls, lookup, connectTimeoutMs: limits.connectTimeoutMs, connecting, permits }),
    });
  const agents = { configured: agentFor(), public: agentFor((address) => hosts.permits(address)) };
  return {
    to: (_url, reach) => agents[reach],
    destroy: async () => {
      for (const socket of connecting) socket.destroy();
      await Promise.all([agents.configured.destroy(), agents.public.destroy()]);
    },
  };
}

/** Behind a proxy the proxy resolves names; what can be seen from here is refused from here. */
function refusePrivateName(url: URL): void {
  const host = hostOf(url);
  const isPrivate = isIP(host) === 0 ? !host.includes('.') || host.endsWith('.localhost') : !isPublicAddress(host);
  if (isPrivate) throw refusal(host, host);
}

function refusal(host: string, address: string): UpstreamRefusedError {
  const at = host === address ? host : `${host} (${address})`;
  return new UpstreamRefusedError(
    OP,
    `an upstream led us to ${at}, which is not a public address, so it was not dialled; if that is intended, add ${JSON.stringify(host)} or its range to "redirects" of the registry`,
  );
}

interface ConnectorOptions {
  readonly tls: { readonly ca?: string[] };
  readonly lookup: LookupFunction;
  readonly connectTimeoutMs: number;
  /** Sockets on their way, so that closing can end them. */
  readonly connecting: Set<Socket>;
  /** Absent: every address is good, because the configuration names the host. */
  readonly permits: ((address: string) => boolean) | undefined;
}

/**
 * Connects to permitted addresses only: refused addresses are dropped from the name's answer before anything is dialled, and the connected
 * socket's own address is checked again before a byte (of TLS, too) is sent.
 */
function checkedConnector(options: ConnectorOptions): buildConnector.connector {
  const { permits, connecting } = options;
  const secure = buildConnector({ ...options.tls, timeout: options.connectTimeoutMs, allowH2: false });
  return (target, callback) => {
    const host = target.hostname;
    const fail = (error: Error): void => callback(error, null);
    if (permits !== undefined && isIP(host) !== 0 && !permits(host)) {
      setImmediate(fail, refusal(host, host));
      return;
    }
    const socket = connect({
      host,
      port: Number(target.port === '' ? (target.protocol === 'https:' ? 443 : 80) : target.port),
      lookup: permits === undefined ? options.lookup : checkedLookup(options.lookup, permits),
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
      if (permits === undefined || permits(address)) settle(undefined);
      else socket.destroy(refusal(host, address));
    });
  };
}

function connectTimeout(host: string): UpstreamUnavailableError {
  return new UpstreamUnavailableError(OP, `connecting to ${host} took too long`, { timedOut: true });
}

function checkedLookup(lookup: LookupFunction, permits: (address: string) => boolean): LookupFunction {
  return (host, options, callback) => {
    lookup(host, { ...options, all: true }, (error, answer) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const addresses = typeof answer === 'string' ? [{ address: answer, family: isIP(answer) }] : answer;
      const permitted = addresses.filter(({ address }) => permits(address));
      const [first] = permitted;
      if (first === undefined) callback(refusal(host, addresses[0]?.address ?? 'no address'), []);
      else if (options.all === true) callback(null, permitted);
      else callback(null, first.address, first.family);
    });
  };
}
