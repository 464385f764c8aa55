import { InvalidRequestError } from '../../errors/cache-error.ts';
import { pathPartOf } from '../../reference/reference.ts';
import type { RegistrySettings } from '../../registry/settings.ts';

/**
 * Scheme, host and port of the cache, as its clients reach it.
 *
 * @throws InvalidRequestError without the URL where it holds a password (I7).
 */
export function parseCacheOrigin(text: string): URL {
  const bad = (why: string): InvalidRequestError => new InvalidRequestError('--url', `--url ${why}`);
  // Checked before parsing: a text that is not a URL may hold a password, too.
  if (text.includes('@')) {
    throw bad('holds a user name or password; write https://host[:port], and sign in with the client');
  }
  if (!URL.canParse(text)) throw bad(`${JSON.stringify(text)} is not a URL; write https://host[:port]`);
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw bad(`${JSON.stringify(text)} begins with neither https: nor http:; write https://host[:port]`);
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw bad(
      `${JSON.stringify(text)} has a path or query; write scheme, host and port alone: clients add /v2/ themselves`,
    );
  }
  return url;
}

/** Whether requests to the URL stay on this machine. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname);
}

/** Whether others could read what is sent to this origin. */
export const isReadable = (origin: URL): boolean => origin.protocol === 'http:' && !isLoopback(origin);

/**
 * The part of the path that names the registry: `CACHE/ghcr.io/org/app`; where the name has a port the alias, or `CACHE/localhost_5001/org/app`. Undefined for an IPv6
 * address without an alias.
 */
export function prefixOf({ name, alias }: ServedRegistry): string | undefined {
  const part = pathPartOf(name);
  return part === name ? name : (alias ?? part);
}

/** An image of the registry, for examples. */
export const exampleImage = ({ name }: ServedRegistry): string =>
  name === 'docker.io' ? 'library/alpine:3.20' : 'team/app:v1';

/** Whether clients find the registry there without any configuration. */
export const isUsualEndpoint = ({ name, endpoint }: ServedRegistry): boolean =>
  endpoint.origin === (name === 'docker.io' ? 'https://registry-1.docker.io' : new URL(`https://${name}`).origin);

/** The text as a basic string: https://toml.io/en/v1.0.0#string */
export function tomlString(text: string): string {
  // JSON's escapes are TOML's, but TOML does not take a bare DEL.
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f');
}

/** A registry as its clients see it. */
export type ServedRegistry = Pick<RegistrySettings, 'name' | 'alias' | 'endpoint'>;

/** The cache, as its clients see it. */
export interface ServedCache {
  /** Scheme, host and port: see `parseCacheOrigin`. */
  readonly origin: URL;
  /** In the order of the configuration. */
  readonly registries: readonly ServedRegistry[];
  /** Whether callers must sign in. */
  readonly needsLogin: boolean;
}

/** One file of a client's configuration, whole or a fragment. */
export interface ClientFile {
  /** Relative to the folder of `--output`, with `/`. */
  readonly path: string;
  /** Absolute path at which the client looks for it, on Linux. */
  readonly place: string;
  /** Whether it must be merged into a file that may exist already. */
  readonly isFragment: boolean;
  /** Ends with a new line. */
  readonly content: string;
}

/** The configuration that makes one client use the cache. */
export interface ClientConfig {
  /** Empty if no configuration file can help. */
  readonly files: readonly ClientFile[];
  /** What the user must know or do besides: a sentence each. */
  readonly notes: readonly string[];
}
