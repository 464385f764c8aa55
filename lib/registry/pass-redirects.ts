/** URLs of CDNs hold signatures; the doors of AWS let about 10,000 bytes of headers through. */
const MOST_URL_CHARACTERS = 8_000;

/**
 * Why no client may be sent to `url` itself, in words; undefined where one may be, as far as the URL alone tells: https at its own port, without user and
 * password, at a host that `passRedirects` of the registry names. Whether that host is public is for whoever can resolve it to say.
 */
export function objectionTo(url: URL, passRedirects: readonly string[]): string | undefined {
  if (url.protocol !== 'https:') return 'is not encrypted by https';
  if (url.username !== '' || url.password !== '') return 'holds a user name or password';
  if (url.port !== '') return 'is not at the port of https';
  if (url.href.length > MOST_URL_CHARACTERS) return `has more than ${MOST_URL_CHARACTERS} characters`;
  if (passRedirects.some((entry) => names(entry, url.hostname))) return undefined;
  return `"passRedirects" of the registry does not name; add ${JSON.stringify(url.hostname)} if clients may be sent there`;
}

/** `*.cdn.example.test` names what has one label before the rest, as in a certificate; anything else names itself. */
function names(entry: string, host: string): boolean {
  if (!entry.startsWith('*.')) return entry === host;
  const rest = entry.slice(1);
  const label = host.slice(0, -rest.length);
  return host.endsWith(rest) && label !== '' && !label.includes('.');
}
