import {
  CacheError,
  DeniedError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { readBounded, SlowBodyError } from './body.ts';
import { parseRetryAfterMs } from './retry.ts';
import type { RegistryResponse } from './transport.ts';

const ERROR_BODY_BYTES = 64 * 1024;
/** Its status says more than its words, so nobody waits long for them. */
const ERROR_BODY_TIMEOUT_MS = 5_000;
const SHOWN_CHARACTERS = 200;
/** Looked at by the patterns of {@link clean}: enough for what is shown, and a bound on what a server can make them cost. */
const CLEANED_CHARACTERS = 1000;
/** Of an HTML page, for its title. */
const HTML_CHARACTERS = 4000;
const TIMEOUTS = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
  'EAI_AGAIN',
]);
const UNTRUSTED =
  /^(?:CERT_|ERR_TLS_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|HOSTNAME_MISMATCH)/;
/** What OpenSSL makes of an answer in plain HTTP. */
const NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG']);
/** What servers that speak TLS say of a request in plain HTTP: Go, nginx, Apache, HAProxy and others. */
const WANTS_TLS = /\bHTTPS server\b|\bHTTPS port\b|\bSSL-enabled server port\b|plain(?:text)? HTTP request/i;
/** The first byte of a TLS record that is an alert (RFC 8446, section 5.1). */
const TLS_ALERT = 0x15;

/**
 * What a broken connection means: transient, unless the certificate is not trusted, or one side speaks TLS and the other does not. Errors of our own pass through.
 *
 * @param where host and path, without a query.
 * @param plainHttp whether the request went without TLS.
 */
export function connectionFailure(op: string, where: string, error: unknown, plainHttp = false): CacheError {
  if (error instanceof CacheError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const why = clean(error instanceof Error ? error.message || code : String(error));
  const host = where.replace(/[/ ].*$/s, '');
  if (plainHttp && code.startsWith('HPE_') && firstByteOf(error) === TLS_ALERT) return wantsTls(op, host, error);
  if (UNTRUSTED.test(code)) {
    return new UpstreamRefusedError(
      op,
      `the certificate of ${where} is not trusted (${why}); if it is right, add its CA to "ca" of the registry`,
      error,
    );
  }
  if (NO_TLS.has(code)) {
    return new UpstreamRefusedError(
      op,
      `${host} does not speak TLS; if it is a registry that speaks plain HTTP, write "endpoint: http://${host}" for it`,
      error,
    );
  }
  const hint =
    plainHttp && closedAtOnce(error) ? `; if it speaks TLS, write "endpoint: https://${host}" for the registry` : '';
  return new UpstreamUnavailableError(op, `the connection to ${where} failed: ${why}${hint}`, {
    cause: error,
    timedOut: TIMEOUTS.has(code) || error instanceof SlowBodyError,
  });
}

/** Without a byte of an answer, as some servers do that hear no TLS. */
function closedAtOnce(error: unknown): boolean {
  const { code, socket } = error as { code?: unknown; socket?: { bytesRead?: unknown } };
  return code === 'UND_ERR_SOCKET' && socket?.bytesRead === 0;
}

/** undici keeps what it could not read as HTTP in the error. */
function firstByteOf(error: unknown): number | undefined {
  const { data } = error as { data?: unknown };
  return typeof data === 'string' ? data.charCodeAt(0) : undefined;
}

/** What to say of a login that was refused. */
export const loginRefused = (login: string): string =>
  `the login of ${login} was refused; log in again, or check "credentials" of the registry`;

const wantsTls = (op: string, host: string, cause?: unknown): UpstreamRefusedError =>
  new UpstreamRefusedError(
    op,
    `${host} speaks TLS, but was asked in plain HTTP; write "endpoint: https://${host}" for the registry`,
    cause,
  );

/**
 * What an answer that nobody wanted means. Reads its body, bounded, for the registry's own words. 404 is for the caller to judge.
 *
 * @param refusal what 401 and 403 mean here.
 */
export async function answerFailure(
  op: string,
  answer: RegistryResponse,
  refusal = 'it refuses us',
): Promise<CacheError> {
  const { status, from, url } = answer;
  const said = await registryWords(answer);
  if (url.protocol === 'http:' && status >= 400 && WANTS_TLS.test(said)) return wantsTls(op, url.host);
  const found = `${from} answered ${status}${said}`;
  const retryAfterMs = parseRetryAfterMs(single(answer.headers['retry-after']), Date.now());
  if (status === 429) {
    return new RateLimitedError(op, `${found}: it limits our requests; try later, or with credentials`, retryAfterMs);
  }
  if (status === 408 || (status >= 500 && status !== 501 && status !== 505)) {
    return new UpstreamUnavailableError(op, found, { timedOut: status === 408 || status === 504, retryAfterMs });
  }
  if (status === 401 || status === 403) {
    return new DeniedError(op, `${found}: ${refusal}`);
  }
  const saidByRegistry = status >= 400 && status < 500;
  return new UpstreamRefusedError(op, `${found}, which is no answer to this request`, undefined, { saidByRegistry });
}

/**
 * What the answer says for itself, in parentheses: ` (MANIFEST_UNKNOWN: manifest unknown)`, ` (an HTML page: "Sign in")`, ` (text/plain: slow down)`; or nothing.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
export async function registryWords(answer: RegistryResponse): Promise<string> {
  let bytes: Uint8Array;
  try {
    const timeMs = Math.min(ERROR_BODY_TIMEOUT_MS, answer.bodyTimeoutMs);
    ({ bytes } = await readBounded(answer.body, ERROR_BODY_BYTES, timeMs));
  } catch {
    // The status is known; that its explanation broke off changes nothing.
    return '';
  }
  const text = Buffer.from(bytes).toString('utf8');
  // Before anything is cut: half of a secret would not be known as one.
  const whole = isHtml(text) ? answer.secrets.removedFrom(text) : text;
  const words = answer.secrets.removedFrom(wordsOf(whole, answer));
  return words === '' ? '' : ` (${clean(words)})`;
}

function wordsOf(text: string, { headers }: RegistryResponse): string {
  const mediaType = (single(headers['content-type']) ?? '').split(';')[0]?.trim() ?? '';
  const isJson = mediaType === '' || /json/i.test(mediaType);
  // Another document than an error may hold anything, a token too.
  const words = errorWords(text) ?? (isHtml(text) ? htmlWords(text) : text.trim());
  if (isJson || isHtml(text)) return words;
  return words === '' ? mediaType : `${mediaType}: ${words}`;
}

/** Whether it is a page for people: no JSON begins so. */
export const isHtml = (text: string): boolean =>
  /^\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype html|html|head|body|h\d|title|center|meta|script|div|p)\b/is.test(
    text.slice(0, HTML_CHARACTERS),
  );

/** Its title, else the first words of what it shows. */
export function htmlWords(text: string): string {
  const start = text.slice(0, HTML_CHARACTERS);
  const title = /<title[^>]*>([^<]*)/i.exec(start)?.[1]?.trim() ?? '';
  const words = title === '' ? start.replace(/<(?:style|script)[^>]*>[^<]*|<[^>]*>?/gi, ' ').trim() : title;
  return words === '' ? 'an HTML page' : `an HTML page: "${clean(words)}"`;
}

/** Undefined where the answer is no JSON; nothing where it is, and no error that we know. */
function errorWords(text: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { errors, error, ...own } = (typeof parsed === 'object' ? (parsed ?? {}) : { error: parsed }) as Record<
    string,
    unknown
  >;
  const first: unknown = Array.isArray(errors) ? errors[0] : errors;
  return wordsIn(first) || wordsIn(error) || wordsIn(own);
}

/** The texts of an error that some server calls so; of other fields nothing is shown: they may hold anything. */
function wordsIn(one: unknown): string {
  if (typeof one === 'string') return one;
  const fields = (one ?? {}) as Record<string, unknown>;
  const said = (...names: readonly string[]): string | undefined =>
    names.map((name) => fields[name]).find((value): value is string => typeof value === 'string' && value !== '');
  return [said('code', 'status'), said('message', 'detail', 'details', 'error_description', 'title')]
    .filter((part) => part !== undefined)
    .join(': ');
}

/** Fit for a message: short, printable, and without what may be a secret: queries and user parts of URLs, tokens. */
export function clean(text: string): string {
  const safe = startOf(text)
    .replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .replace(/:\/\/[^\s/"']*@/g, '://')
    .replace(/\?[^\s"'<>]*/g, (query) => (query.includes('=') ? '?…' : query))
    .replace(/\b(bearer|basic) [\w.~+/=-]+/gi, '$1 …')
    .replace(/\beyJ[\w-]+(?:\.[\w-]*)*/g, '…')
    .replace(/(?<!\w|sha256:|sha512:)[\w+/=-]{48,}/g, '…')
    .trim();
  return safe.length > SHOWN_CHARACTERS ? `${safe.slice(0, SHOWN_CHARACTERS)}…` : safe;
}

/** Whole words, because half of a token could pass for none. */
function startOf(text: string): string {
  if (text.length <= CLEANED_CHARACTERS) return text;
  const start = text.slice(0, CLEANED_CHARACTERS);
  const lastWord = /[^\s\p{Cc}\p{Cf}]*$/u.exec(start)?.index ?? 0;
  return `${start.slice(0, lastWord)}…`;
}

/** The value of a header that should come once. */
export const single = (value: string | readonly string[] | undefined): string | undefined =>
  typeof value === 'object' ? value[0] : value;
