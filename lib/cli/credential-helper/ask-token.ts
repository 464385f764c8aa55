import { type HttpAnswer, requestsIn, sdkRegion } from '../../doctor/sigv4-requests.ts';
import { regionOf } from '../../doctor/target.ts';
import { CacheError } from '../../errors/cache-error.ts';
import type { TokenDocument } from '../../http/control/deployment.ts';
import { type HelperSettings, isPlainLoopback } from '../../config/credential-helper.ts';

/**
 * A new password for the registry endpoint, from `POST /v1/token` of the configured URL, signed with the credentials that the AWS SDK finds. Redirects are not
 * followed.
 *
 * @throws CacheError without any secret in its message
 */
export async function askToken(settings: HelperSettings, signal: AbortSignal): Promise<TokenDocument> {
  const { url, lifetimeSeconds } = settings;
  const call = {
    method: 'POST',
    url: new URL(`${url.href.replace(/\/$/, '')}/v1/token`),
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ lifetimeSeconds }),
  };
  const region = settings.region ?? regionOf(url) ?? (isPlainLoopback(url) ? 'local' : await sdkRegion());
  const requests = requestsIn(region);
  // The local application checks no signatures, and there may be no credentials.
  const answer = isPlainLoopback(url) ? requests.plain(call, signal) : requests.signed('execute-api', call, signal);
  return tokenOf(await answerOf(answer, url, signal), url);
}

async function answerOf(asked: Promise<HttpAnswer>, url: URL, signal: AbortSignal): Promise<HttpAnswer> {
  try {
    return await asked;
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof CacheError) throw cause;
    const why = cause instanceof Error ? cause.name : 'unknown error';
    throw failure(`POST /v1/token of ${url.host} failed (${why}); check the AWS credentials and the network`, cause);
  }
}

function tokenOf({ status, text }: HttpAnswer, url: URL): TokenDocument {
  const { username, password, expiresAt, detail } = parsed(text);
  if (status !== 200) {
    const said = typeof detail === 'string' ? `: ${detail.slice(0, 300)}` : '';
    throw failure(`POST /v1/token of ${url.host} answered ${status}${said}`);
  }
  if (typeof username !== 'string' || typeof password !== 'string' || typeof expiresAt !== 'string') {
    throw failure(`POST /v1/token of ${url.host} did not answer with a password; check the URL`);
  }
  return { username, password, expiresAt };
}

/** Errors must not quote the text: it may hold the password. */
function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null ? { ...document } : {};
  } catch {
    return {};
  }
}

const failure = (message: string, cause?: unknown): CacheError =>
  new CacheError(message, { op: 'mint password', origin: 'upstream', retryable: true, cause });
