import {
  CacheError,
  DeniedError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { readBounded } from './body.ts';
import { parseRetryAfterMs } from './retry.ts';
import type { Answer } from './transport.ts';

const ERROR_BODY_BYTES = 64 * 1024;
const SHOWN_CHARACTERS = 200;
/** Looked at by the patterns of {@link clean}: enough for what is shown, and a bound on what a server can make them cost. */
const CLEANED_CHARACTERS = 1000;
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

/**
 * What a broken connection means: transient, unless the certificate is not trusted or there is no TLS. Errors of our own pass through.
 *
 * @param where host and path, without a query.
 */
export function connectionFailure(op: string, where: string, error: unknown): CacheError {
  if (error instanceof CacheError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const why = clean(error instanceof Error ? error.message || code : String(error));
  if (UNTRUSTED.test(code)) {
    return new UpstreamRefusedError(
      op,
      `the certificate of ${where} is not trusted (${why}); if it is right, add its CA to "ca" of the registry`,
      error,
    );
  }
  if (NO_TLS.has(code)) {
    const host = where.replace(/\/.*$/s, '');
    return new UpstreamRefusedError(
      op,
      `${host} does not speak TLS; if it is a registry that speaks plain HTTP, write "endpoint: http://${host}" for it`,
      error,
    );
  }
  return new UpstreamUnavailableError(op, `the connection to ${where} failed: ${why}`, {
    cause: error,
    timedOut: TIMEOUTS.has(code),
  });
}

/** What an answer that nobody wanted means. Reads its body, bounded, for the registry's own words. 404 is for the caller to judge. */
export async function answerFailure(op: string, where: string, answer: Answer): Promise<CacheError> {
  const { status } = answer;
  const said = await registryWords(answer);
  const found = `${where} answered ${status}${said}`;
  const retryAfterMs = parseRetryAfterMs(single(answer.headers['retry-after']), Date.now());
  if (status === 429) {
    return new RateLimitedError(op, `${found}: it limits our requests; try later, or with credentials`, retryAfterMs);
  }
  if (status === 408 || (status >= 500 && status !== 501 && status !== 505)) {
    return new UpstreamUnavailableError(op, found, { timedOut: status === 408 || status === 504, retryAfterMs });
  }
  if (status === 401 || status === 403) {
    return new DeniedError(
      op,
      `${found}: the repository does not exist there, or may not be read with what we have; check "credentials" of the registry`,
    );
  }
  return new UpstreamRefusedError(op, `${found}, which is no answer to this request`);
}

/** `: MANIFEST_UNKNOWN manifest unknown`, or nothing: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes */
export async function registryWords(answer: Answer): Promise<string> {
  let text: string;
  try {
    text = (await readBounded(answer.body, ERROR_BODY_BYTES)).bytes.toString('utf8');
  } catch {
    // The status is known; that its explanation broke off changes nothing.
    return '';
  }
  const words = answer.secrets.reduce((said, secret) => said.replaceAll(secret, '…'), errorWords(text));
  return words === '' ? '' : ` (${clean(words)})`;
}

function errorWords(text: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return '';
  }
  const { errors } = (parsed ?? {}) as { errors?: unknown };
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  const { code, message } = (first ?? {}) as { code?: unknown; message?: unknown };
  return [code, message].filter((part) => typeof part === 'string').join(': ');
}

/** Fit for a message: short, printable, and without what may be a secret: queries and user parts of URLs, tokens. */
export function clean(text: string): string {
  const safe = startOf(text)
    .replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .replace(/:\/\/[^\s/"']*@/g, '://')
    .replace(/\?[^\s"'<>]*/g, (query) => (query.includes('=') ? '?…' : query))
    .replace(/\b(bearer|basic) [\w.~+/=-]+/gi, '$1 …')
    .replace(/\beyJ[\w-]+(?:\.[\w-]*)*/g, '…')
    .replace(/(?<!\w|sha256:)[\w+/=-]{48,}/g, '…')
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
