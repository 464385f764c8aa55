import { UpstreamRefusedError } from '../errors/cache-error.ts';
import { type ConfiguredHosts, hostnameOf, type HostRules, isIpOrBareName, type Reach } from './address.ts';
import { clean, single } from './failure.ts';
import type { RegistryResponse } from './transport.ts';

/** One challenge of a `WWW-Authenticate` header: RFC 9110, section 11.6.1. */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** By lower-case name. The first of a repeated name counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SEPARATORS = /[\s,]*/y;
const WORD = /[^\s,="]+/y;
const EQUALS = /\s*=\s*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)(?:"|$)/sy;
/** Some registries leave the quotes out, also around URLs. */
const BARE = /[^\s,]*/y;

/**
 * All challenges of the header, in order. Never throws: what makes no sense is left out.
 *
 * Survives commas and escapes in quoted values, several challenges in one header or in several, any case, missing quotes and a missing last quote.
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
    // A word with "=" behind it is a parameter of the last scheme; without, it is the next scheme.
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
 * Registries whose tokens come from another host, each seen in the challenge of its `/v2/`. Where both are the same host
 * (ghcr.io, quay.io, gcr.io, …) no entry is needed.
 */
const REALM_OF_REGISTRY: ReadonlyMap<string, string> = new Map([
  ['registry-1.docker.io', 'auth.docker.io'],
  ['index.docker.io', 'auth.docker.io'],
  ['registry.gitlab.com', 'gitlab.com'],
  ['docker.elastic.co', 'docker-auth.elastic.co'],
  ['registry.digitalocean.com', 'api.digitalocean.com'],
  ['lscr.io', 'ghcr.io'],
]);

/** A place that may give tokens. */
export interface Realm {
  readonly url: URL;
  readonly reach: Reach;
}

/**
 * The realm of a challenge from `base`, if it may be dialled and may see the registry's credentials (I7): the registry's own host (any port, where
 * that is an IP or a bare name), its built-in partner, or one of `realms` of the configuration.
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
 * Where a realm redirects to. What carries a secret may follow to the same host, or to a realm that the configuration names; what carries none to any https host
 * at a public address, too.
 *
 * @throws UpstreamRefusedError for any other.
 */
export function movedRealm(
  { status, headers, url: from }: Pick<RegistryResponse, 'status' | 'headers' | 'url'>,
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
  new UpstreamRefusedError('get token', `${base.host} sends us for tokens to ${where}; nothing was sent there`);
