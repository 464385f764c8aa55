import ipaddr from 'ipaddr.js';
import type { RegistrySettings } from './settings.ts';

/**
 * True only for addresses of the public internet. False for private, loopback, link-local, CGNAT, multicast, reserved and
 * documentation ranges, and for IPv6 forms that embed an IPv4 address (v4-mapped, NAT64, 6to4, Teredo).
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  // All allocated addresses are in 2000::/3. Outside are forms unknown to ipaddr.js (::/96, 64:ff9b:1::/48, fec0::/10).
  return parsed.kind() === 'ipv4' || parsed.match(ipaddr.parse('2000::'), 3);
}

/** The host of a URL as a name or a bare IP address. */
export const hostnameOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');

/** Whether the URL leads to this machine: `localhost`, `127.1`, `[::1]`, `0.0.0.0`, and their IPv6 forms. */
export function isOwnMachine(url: URL): boolean {
  const host = hostnameOf(url).toLowerCase();
  if (!ipaddr.isValid(host)) return host === 'localhost' || host.endsWith('.localhost');
  const range = ipaddr.process(host).range();
  return range === 'loopback' || range === 'unspecified';
}

/** True for `registry`, `localhost`, `127.0.0.1`, `::1`: names that are valid on one network only. */
export const isIpOrBareName = (host: string): boolean => ipaddr.isValid(host) || !host.includes('.');

/** An entry of `redirects` or `realms`, parsed. */
interface HostRule {
  readonly host: string;
  readonly port?: string;
  /** Set if the entry is a URL. */
  readonly scheme?: string;
}

interface RangeRule {
  readonly range: [ipaddr.IPv4 | ipaddr.IPv6, number];
}

const DEFAULT_PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };
const portOf = (url: URL): string => (url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? '') : url.port);

/** Hosts and address ranges from the configuration. */
export class HostRules {
  readonly #hosts: HostRule[] = [];
  readonly #ranges: RangeRule[] = [];

  /** Entries: `host`, `host:port`, `10.0.0.0/8`, `http://host:port`, `https://host`. Malformed ones match nothing. */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      if (ipaddr.isValidCIDR(entry)) {
        this.#ranges.push({ range: ipaddr.parseCIDR(entry) });
        continue;
      }
      const scheme = /^(https?:)\/\//i.exec(entry)?.[1]?.toLowerCase();
      const bareV6 = ipaddr.IPv6.isValid(entry) ? `[${entry}]` : entry;
      // A scheme without a default port keeps an explicit ":443".
      const text = scheme === undefined ? `entry://${bareV6}` : entry;
      if (!URL.canParse(text)) continue;
      const url = new URL(text);
      const host = hostnameOf(url).toLowerCase();
      if (scheme !== undefined) this.#hosts.push({ host, port: portOf(url), scheme });
      else this.#hosts.push(url.port === '' ? { host } : { host, port: url.port });
    }
  }

  /**
   * Whether an entry names the host of `url` and allows its scheme. Plain HTTP needs an entry with `http://`, or `plainHttp`
   * and an entry without a scheme.
   */
  names(url: URL, plainHttp = false): boolean {
    const host = hostnameOf(url);
    const named = this.#hosts.some(
      (rule) =>
        rule.host === host &&
        (rule.port === undefined || rule.port === portOf(url)) &&
        (rule.scheme ?? (plainHttp ? url.protocol : 'https:')) === url.protocol,
    );
    return named || (url.protocol === 'https:' && ipaddr.isValid(host) && this.covers(host));
  }

  /** Whether a range of the entries covers the address. */
  covers(address: string): boolean {
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.parse(address);
    return this.#ranges.some(({ range }) => parsed.kind() === range[0].kind() && parsed.match(range));
  }
}

/**
 * Which addresses a connection may reach (I8). The addresses of `configured` hosts are not checked. Everything else must be
 * `public`, including a registry that is configured by name only.
 */
export type Reach = 'configured' | 'public';

/** The origins and rules of one registry's configuration. */
export class ConfiguredHosts {
  readonly redirects: HostRules;
  readonly #origins: ReadonlySet<string>;
  /** Origins that may have a private address. */
  readonly #privateOrigins: ReadonlySet<string>;
  readonly #endpoint: URL;

  constructor(settings: Pick<RegistrySettings, 'endpoint' | 'endpointMayBePrivate' | 'mirrors' | 'redirects'>) {
    const { endpoint, endpointMayBePrivate, mirrors } = settings;
    this.redirects = new HostRules(settings.redirects);
    this.#endpoint = endpoint;
    this.#origins = new Set([endpoint, ...mirrors].map((url) => url.origin));
    this.#privateOrigins = new Set([...(endpointMayBePrivate ? [endpoint] : []), ...mirrors].map((url) => url.origin));
  }

  /** Whether the URL is on the endpoint or a mirror. Another port of the same host is another origin. */
  isOrigin(url: URL): boolean {
    return this.#origins.has(url.origin);
  }

  reachOf(url: URL): Reach {
    return this.#privateOrigins.has(url.origin) || this.redirects.names(url) ? 'configured' : 'public';
  }

  /** Whether a socket of a `public` connection may go to `address`. */
  permits(address: string): boolean {
    return isPublicAddress(address) || this.redirects.covers(address);
  }

  /** What to write into the configuration to allow the private `host`. */
  permissionFor(host: string): string {
    const { origin } = this.#endpoint;
    return hostnameOf(this.#endpoint) === host && !this.#privateOrigins.has(origin)
      ? `write "endpoint: ${origin}" for the registry (http:// if it speaks plain HTTP)`
      : `add ${JSON.stringify(host)} or its range to "redirects" of the registry`;
  }
}
