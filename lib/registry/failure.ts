import {
  CacheError,
  DeniedError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { readBounded, SlowBodyError } from './body.ts';
import { parseRetryAfterMs } from './retry.ts';
import type { UpstreamResponse } from './transport.ts';

const ERROR_BODY_BYTES = 64 * 1024;
/** Short, because the status matters more than the body. */
const ERROR_BODY_TIMEOUT_MS = 5_000;
const SHOWN_CHARACTERS = 200;
/** Input of {@link clean}: enough for what is shown, and bounds the cost of its patterns. */
const CLEANED_CHARACTERS = 1000;
/** Searched for the title of an HTML page. */
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
/** OpenSSL's errors for an answer in plain HTTP. */
const NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG']);
/** How TLS servers answer plain HTTP: Go, nginx, Apache, HAProxy and others. */
const WANTS_TLS = /\bHTTPS server\b|\bHTTPS port\b|\bSSL-enabled server port\b|plain(?:text)? HTTP request/i;
/** The first byte of a TLS alert record (RFC 8446, section 5.1). */
const TLS_ALERT = 0x15;

/**
 * The error for a broken connection. Retryable, unless the certificate is not trusted or only one side speaks TLS.
 * A CacheError is returned as it is.
 *
 * @param where Host and path, without a query.
 * @param plainHttp Whether the request was sent without TLS.
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

/** Whether the connection was closed without an answer, as some TLS servers do for plain HTTP. */
function closedAtOnce(error: unknown): boolean {
  const { code, socket } = error as { code?: unknown; socket?: { bytesRead?: unknown } };
  return code === 'UND_ERR_SOCKET' && socket?.bytesRead === 0;
}

/** The first byte that undici could not parse as HTTP. */
function firstByteOf(error: unknown): number | undefined {
  const { data } = error as { data?: unknown };
  return typeof data === 'string' ? data.charCodeAt(0) : undefined;
}

/** The message for a refused login. */
export const loginRefused = (login: string): string =>
  `the login of ${login} was refused; log in again, or check "credentials" of the registry`;

const wantsTls = (op: string, host: string, cause?: unknown): UpstreamRefusedError =>
  new UpstreamRefusedError(
    op,
    `${host} speaks TLS, but was asked in plain HTTP; write "endpoint: https://${host}" for the registry`,
    cause,
  );

/**
 * The error for an unexpected answer. Reads the body, bounded, for the registry's own message. A 404 is for the caller to judge.
 *
 * @param refusal The meaning of 401 and 403 here.
 */
export async function answerFailure(
  op: string,
  answer: UpstreamResponse,
  refusal = 'access denied',
): Promise<CacheError> {
  const { status, from, url } = answer;
  const said = await registryWords(answer);
  if (url.protocol === 'http:' && status >= 400 && WANTS_TLS.test(said)) return wantsTls(op, url.host);
  const found = `${from} answered ${status}${said}`;
  const retryAfterMs = parseRetryAfterMs(single(answer.headers['retry-after']), Date.now());
  if (status === 429) {
    return new RateLimitedError(op, `${found}: rate limit reached; try later, or with credentials`, retryAfterMs);
  }
  if (status === 408 || (status >= 500 && status !== 501 && status !== 505)) {
    return new UpstreamUnavailableError(op, found, { timedOut: status === 408 || status === 504, retryAfterMs });
  }
  if (status === 401 || status === 403) {
    return new DeniedError(op, `${found}: ${refusal}`);
  }
  const saidByRegistry = status >= 400 && status < 500;
  return new UpstreamRefusedError(op, `${found}, which is not a valid answer to this request`, undefined, {
    saidByRegistry,
  });
}

/**
 * The message of the answer's body in parentheses: ` (MANIFEST_UNKNOWN: manifest unknown)`, ` (an HTML page: "Sign in")`,
 * ` (text/plain: slow down)`. Empty if there is none.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
export async function registryWords(answer: UpstreamResponse): Promise<string> {
  let bytes: Uint8Array;
  try {
    const timeMs = Math.min(ERROR_BODY_TIMEOUT_MS, answer.bodyTimeoutMs);
    ({ bytes } = await readBounded(answer.body, ERROR_BODY_BYTES, timeMs));
  } catch {
    // The status is known; a body that breaks off changes nothing.
    return '';
  }
  const text = Buffer.from(bytes).toString('utf8');
  // Before anything is cut off, because part of a secret is not recognised.
  const whole = isHtml(text) ? answer.secrets.removedFrom(text) : text;
  const words = answer.secrets.removedFrom(wordsOf(whole, answer));
  return words === '' ? '' : ` (${clean(words)})`;
}

function wordsOf(text: string, { headers }: UpstreamResponse): string {
  const mediaType = (single(headers['content-type']) ?? '').split(';')[0]?.trim() ?? '';
  const isJson = mediaType === '' || /json/i.test(mediaType);
  // A document that is not an error may hold anything, even a token.
  const words = errorWords(text) ?? (isHtml(text) ? htmlWords(text) : text.trim());
  if (isJson || isHtml(text)) return words;
  return words === '' ? mediaType : `${mediaType}: ${words}`;
}

/** Whether the text is an HTML page. JSON never begins like this. */
export const isHtml = (text: string): boolean =>
  /^\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype html|html|head|body|h\d|title|center|meta|script|div|p)\b/is.test(
    text.slice(0, HTML_CHARACTERS),
  );

/** The title of the page, or else its first words. */
export function htmlWords(text: string): string {
  const start = text.slice(0, HTML_CHARACTERS);
  const title = /<title[^>]*>([^<]*)/i.exec(start)?.[1]?.trim() ?? '';
  const words = title === '' ? start.replace(/<(?:style|script)[^>]*>[^<]*|<[^>]*>?/gi, ' ').trim() : title;
  return words === '' ? 'an HTML page' : `an HTML page: "${clean(words)}"`;
}

/** The message of a JSON error; empty if its form is unknown. Undefined if the text is not JSON. */
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

/** Code and message by the field names that servers use. Other fields are not shown: they may hold anything. */
function wordsIn(one: unknown): string {
  if (typeof one === 'string') return one;
  const fields = (one ?? {}) as Record<string, unknown>;
  const said = (...names: readonly string[]): string | undefined =>
    names.map((name) => fields[name]).find((value): value is string => typeof value === 'string' && value !== '');
  return [said('code', 'status'), said('message', 'detail', 'details', 'error_description', 'title')]
    .filter((part) => part !== undefined)
    .join(': ');
}

/** Safe for a message: short, printable, without URL queries, user parts of URLs and tokens. */
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

/** Cut at a word, because part of a token may not be recognised. */
function startOf(text: string): string {
  if (text.length <= CLEANED_CHARACTERS) return text;
  const start = text.slice(0, CLEANED_CHARACTERS);
  const lastWord = /[^\s\p{Cc}\p{Cf}]*$/u.exec(start)?.index ?? 0;
  return `${start.slice(0, lastWord)}…`;
}

/** The value of a header that should occur once. */
export const single = (value: string | readonly string[] | undefined): string | undefined =>
  typeof value === 'object' ? value[0] : value;
