import { InvalidRequestError } from '../errors/cache-error.ts';

/**
 * Scheme, host and port of the cache, as its clients reach it.
 *
 * @throws InvalidRequestError without the URL where it holds a password (I7).
 */
export function parseCacheOrigin(text: string): URL {
  const bad = (why: string): InvalidRequestError => new InvalidRequestError('--url', `--url ${why}`);
  // Before it is parsed: what does not parse, or parses as something else, may hold a password, too.
  if (text.includes('@')) {
    throw bad('holds a user name or password; write https://host[:port], and sign in with the client');
  }
  if (!URL.canParse(text)) throw bad(`${JSON.stringify(text)} is not a URL; write https://host[:port]`);
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw bad(`${JSON.stringify(text)} has neither https: nor http: in front; write https://host[:port]`);
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw bad(
      `${JSON.stringify(text)} has a path or query; write scheme, host and port alone: clients add /v2/ themselves`,
    );
  }
  return url;
}

/** Whether what is sent there never leaves the machine. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname);
}

/** Whether passwords sent there could be read on the way. */
export const isReadable = (origin: URL): boolean => origin.protocol === 'http:' && !isLoopback(origin);
