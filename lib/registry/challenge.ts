import { UpstreamRefusedError } from '../errors/cache-error.ts';
import { type ConfiguredHosts, hostnameOf, type HostRules, isIpOrBareName, type Reach } from './address.ts';
import { clean, single } from './failure.ts';
import type { UpstreamResponse } from './transport.ts';

/** One challenge of a `WWW-Authenticate` header: RFC 9110, section 11.6.1. */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** By lower-case name. Of a repeated name the first is kept. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SEPARATORS = /[\s,]*/y;
const WORD = /[^\s,="]+/y;
const EQUALS = /\s*=\s*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)(?:"|$)/sy;
/** Some registries omit the quotes, even around URLs. */
const BARE = /[^\s,]*/y;

/**
 * All challenges of the header, in order. Never throws; malformed parts are dropped.
 *
 * Handles commas and escapes in quoted values, several challenges in one header or in several, any case, and missing quotes.
 */
export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  const lines = header === undefined ? [] : typeof header === 'string' ? [header] : header;
  return lines.flatMap(parseLine);
}

function parseLine(line: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(line);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  while (at < line.length) {
    take(SEPARATORS);
    const word = take(WORD)?.[0];
    if (word === undefined) {
      at++;
      continue;
    }
    // A word before "=" is a parameter of the last scheme; any other is the next scheme.
    if (take(EQUALS) === null) {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    const quoted = take(QUOTED);
    const value = quoted === null ? (take(BARE)?.[0] ?? '') : (quoted[1] ?? '').replace(/\\(.)/gs, '$1');
    const parameters = challenges.at(-1)?.parameters;
    if (parameters?.has(word.toLowerCase()) === false) parameters.set(word.toLowerCase(), value);
  }
  return challenges;
}

/**
 * Registries whose tokens come from another host, as the challenge of their `/v2/` says. Registries with their own realm
 * (ghcr.io, quay.io, gcr.io, …) need no entry.
 */
const REALM_OF_REGISTRY: ReadonlyMap<string, string> = new Map([
  ['registry-1.docker.io', 'auth.docker.io'],
  ['index.docker.io', 'auth.docker.io'],
  ['registry.gitlab.com', 'gitlab.com'],
  ['docker.elastic.co', 'docker-auth.elastic.co'],
  ['registry.digitalocean.com', 'api.digitalocean.com'],
  ['lscr.io', 'ghcr.io'],
]);

/** A token server that may be used. */
export interface Realm {
  readonly url: URL;
  readonly reach: Reach;
}

/**
 * The realm of a challenge from `base`, if it may see the registry's credentials (I7): the registry's own host (on any port
 * if that is an IP or a bare name), its built-in token host, or one of the configured `realms`.
 *
 * @throws UpstreamRefusedError for any other.
 */
export function parseRealm(text: string, base: URL, realms: HostRules, hosts: ConfiguredHosts): Realm {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw refused(base, `${JSON.stringify(clean(text))}, which is not an https address`);
  }
  url.hash = '';
  if (realms.names(url, base.protocol === 'http:')) return { url, reach: 'configured' };
  if (url.protocol === 'http:' && base.protocol !== 'http:') {
    throw refused(
      base,
      `http://${url.host}, which is not encrypted; if that is intended, add "http://${url.host}" to "realms" of the registry`,
    );
  }
  const sameHost = hostnameOf(url) === hostnameOf(base);
  if (sameHost && (url.host === base.host || isIpOrBareName(hostnameOf(base))))
    return { url, reach: hosts.reachOf(base) };
  if (url.protocol === 'https:' && url.port === '' && REALM_OF_REGISTRY.get(hostnameOf(base)) === hostnameOf(url)) {
    return { url, reach: hosts.reachOf(url) };
  }
  throw refused(base, `${url.host}; if that is intended, add ${JSON.stringify(url.host)} to "realms" of the registry`);
}

/**
 * Where a realm redirects to. A request with a secret may go to the same host or a configured realm; one without may also go
 * to any https host at a public address.
 *
 * @throws UpstreamRefusedError for any other.
 */
export function movedRealm(
  { status, headers, url: from }: Pick<UpstreamResponse, 'status' | 'headers' | 'url'>,
  isSecret: boolean,
  realms: HostRules,
  hosts: ConfiguredHosts,
): Realm {
  const location = single(headers.location);
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw new UpstreamRefusedError('get token', `${from.host} answered ${status} without a usable Location`);
  }
  const url = new URL(location, from);
  if (!isSecret && url.protocol === 'https:' && url.username === '' && url.password === '' && url.host !== from.host) {
    return realms.names(url) ? { url, reach: 'configured' } : { url, reach: hosts.reachOf(url) };
  }
  return parseRealm(url.href, from, realms, hosts);
}

const refused = (base: URL, where: string): UpstreamRefusedError =>
  new UpstreamRefusedError('get token', `${base.host} names the token server ${where}; nothing was sent there`);
