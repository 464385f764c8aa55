import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { S3Error } from './errors.ts';
import type { Target } from './target.ts';
import { encodeStrictly } from './target.ts';

/** The one pair of keys of this endpoint, and its region. */
export interface Account {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

/** How the body is protected, as the request declares. */
export type Payload =
  | { readonly kind: 'hashed'; readonly sha256: string }
  | { readonly kind: 'unsigned' }
  | { readonly kind: 'chunks'; readonly trailer: boolean; readonly seal: ChunkSeal | undefined };

/** The signed parts of a request. Header names are in lower case, values of repeated headers joined by commas. */
export interface SignedRequest {
  readonly method: string;
  readonly target: Target;
  readonly headers: ReadonlyMap<string, string>;
}

interface Claim {
  readonly accessKeyId: string;
  /** `date/region/s3/aws4_request` */
  readonly scope: string;
  readonly timestamp: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly payload: string;
  readonly presigned: boolean;
}

const SCHEME = 'AWS4-HMAC-SHA256';
const EMPTY_SHA256 = createHash('sha256').digest('hex');
const MAX_SKEW_MS = 15 * 60 * 1000;
const MAX_EXPIRES_SECONDS = 7 * 24 * 3600;

/** The chain of signatures over the chunks of one body: each covers the one before. */
export class ChunkSeal {
  readonly #key: Buffer;
  readonly #context: string;
  #previous: string;

  constructor(key: Buffer, context: string, seed: string) {
    this.#key = key;
    this.#context = context;
    this.#previous = seed;
  }

  /** @throws S3Error SignatureDoesNotMatch. */
  checkChunk(sha256: string, signature: string): void {
    this.#check(`${SCHEME}-PAYLOAD\n${this.#context}\n${this.#previous}\n${EMPTY_SHA256}\n${sha256}`, signature);
  }

  /** @throws S3Error SignatureDoesNotMatch. */
  checkTrailer(sha256: string, signature: string): void {
    this.#check(`${SCHEME}-TRAILER\n${this.#context}\n${this.#previous}\n${sha256}`, signature);
  }

  #check(text: string, signature: string): void {
    if (!isSame(hmac(this.#key, text).toString('hex'), signature)) throw doesNotMatch();
    this.#previous = signature;
  }
}

/**
 * Returns only for a request signed with the account's key, by header or presigned, and not expired.
 *
 * @throws S3Error with the code S3 gives: AccessDenied (also: expired), InvalidAccessKeyId, SignatureDoesNotMatch,
 * RequestTimeTooSkewed, AuthorizationHeaderMalformed, AuthorizationQueryParametersError.
 */
export function authenticate(request: SignedRequest, account: Account, nowMs: number): Payload {
  const query = new Map(request.target.query);
  const claim = query.has('X-Amz-Algorithm') ? presignedClaim(request, query, nowMs) : headerClaim(request, nowMs);
  if (request.headers.has('x-amz-security-token') || query.has('X-Amz-Security-Token')) {
    throw new S3Error('InvalidToken', 'The provided token is malformed or otherwise invalid.');
  }
  if (claim.accessKeyId !== account.accessKeyId) {
    throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
      details: { AWSAccessKeyId: claim.accessKeyId },
    });
  }
  checkScope(claim, account.region);
  checkSignedHeaders(request, claim);
  const key = signingKey(account.secretAccessKey, claim.scope);
  const canonical = canonicalRequest(request, claim);
  const context = `${claim.timestamp}\n${claim.scope}`;
  const expected = hmac(key, `${SCHEME}\n${context}\n${createHash('sha256').update(canonical).digest('hex')}`);
  if (!isSame(expected.toString('hex'), claim.signature)) throw doesNotMatch();
  return payloadOf(claim.payload, () => new ChunkSeal(key, context, claim.signature));
}

function headerClaim(request: SignedRequest, nowMs: number): Claim {
  const authorization = request.headers.get('authorization');
  if (authorization === undefined) throw new S3Error('AccessDenied', 'Access Denied');
  const match = /^AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})$/.exec(
    authorization,
  );
  const [, credential, signedHeaders, signature] = match ?? [];
  if (credential === undefined || signedHeaders === undefined || signature === undefined) {
    throw new S3Error('AuthorizationHeaderMalformed', 'The authorization header that you provided is not valid.');
  }
  const timestamp = request.headers.get('x-amz-date') ?? '';
  const signedMs = parseTimestamp(timestamp);
  if (signedMs === undefined) {
    throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
  }
  if (Math.abs(nowMs - signedMs) > MAX_SKEW_MS) {
    throw new S3Error(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      {
        details: {
          RequestTime: timestamp,
          ServerTime: new Date(nowMs).toISOString(),
          MaxAllowedSkewMilliseconds: String(MAX_SKEW_MS),
        },
      },
    );
  }
  const payload = request.headers.get('x-amz-content-sha256');
  if (payload === undefined) {
    throw new S3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
  }
  return {
    ...splitCredential(credential),
    timestamp,
    signedHeaders: signedHeaders.split(';'),
    signature,
    payload,
    presigned: false,
  };
}

function presignedClaim(request: SignedRequest, query: ReadonlyMap<string, string>, nowMs: number): Claim {
  // S3 refuses others, too. On loopback, current Go clients send the login of the cache to this port as well, because it is the same host.
  if (request.headers.get('authorization')?.startsWith('AWS4-') === true) {
    throw new S3Error('InvalidArgument', 'Only one auth mechanism allowed');
  }
  const parameter = (name: string, pattern: RegExp): string => {
    const value = query.get(name);
    if (value !== undefined && pattern.test(value)) return value;
    throw new S3Error('AuthorizationQueryParametersError', `The query parameter ${name} is missing or not valid.`);
  };
  parameter('X-Amz-Algorithm', /^AWS4-HMAC-SHA256$/);
  const timestamp = parameter('X-Amz-Date', /^\d{8}T\d{6}Z$/);
  const expiresSeconds = Number(parameter('X-Amz-Expires', /^\d{1,9}$/));
  const signedMs = parseTimestamp(timestamp);
  if (signedMs === undefined || expiresSeconds < 1 || expiresSeconds > MAX_EXPIRES_SECONDS) {
    throw new S3Error(
      'AuthorizationQueryParametersError',
      'X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds',
    );
  }
  if (signedMs > nowMs + MAX_SKEW_MS) throw new S3Error('AccessDenied', 'Request is not yet valid');
  if (signedMs + expiresSeconds * 1000 < nowMs) {
    throw new S3Error('AccessDenied', 'Request has expired', {
      details: {
        'X-Amz-Expires': String(expiresSeconds),
        Expires: new Date(signedMs + expiresSeconds * 1000).toISOString(),
        ServerTime: new Date(nowMs).toISOString(),
      },
    });
  }
  return {
    ...splitCredential(parameter('X-Amz-Credential', /./)),
    timestamp,
    signedHeaders: parameter('X-Amz-SignedHeaders', /./).split(';'),
    signature: parameter('X-Amz-Signature', /^[0-9a-f]{64}$/),
    payload: request.headers.get('x-amz-content-sha256') ?? query.get('X-Amz-Content-Sha256') ?? 'UNSIGNED-PAYLOAD',
    presigned: true,
  };
}

function splitCredential(credential: string): { accessKeyId: string; scope: string } {
  const slash = credential.indexOf('/');
  return { accessKeyId: credential.slice(0, slash), scope: credential.slice(slash + 1) };
}

function checkScope(claim: Claim, region: string): void {
  const expected = `${claim.timestamp.slice(0, 8)}/${region}/s3/aws4_request`;
  if (claim.scope === expected) return;
  const code = claim.presigned ? 'AuthorizationQueryParametersError' : 'AuthorizationHeaderMalformed';
  throw new S3Error(code, `The credential's scope '${claim.scope}' is wrong; expecting '${expected}'`, {
    details: { Region: region },
  });
}

/** The host and all headers that S3 acts on must be signed, or headers could be added to a stolen URL. */
function checkSignedHeaders(request: SignedRequest, claim: Claim): void {
  const unsigned = [...request.headers.keys(), 'host'].filter(
    (name) => (name === 'host' || name.startsWith('x-amz-')) && !claim.signedHeaders.includes(name),
  );
  if (unsigned.length === 0) return;
  throw new S3Error('AccessDenied', 'There were headers present in the request which were not signed', {
    details: { HeadersNotSigned: unsigned.join(', ') },
  });
}

function canonicalRequest(request: SignedRequest, claim: Claim): string {
  const query = request.target.query
    .filter(([name]) => !(claim.presigned && name === 'X-Amz-Signature'))
    .map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
    .sort();
  return [
    request.method,
    encodeStrictly(request.target.path).replaceAll('%2F', '/'),
    query.join('&'),
    ...claim.signedHeaders.map((name) => `${name}:${(request.headers.get(name) ?? '').trim().replaceAll(/ +/g, ' ')}`),
    '',
    claim.signedHeaders.join(';'),
    claim.payload,
  ].join('\n');
}

function payloadOf(declared: string, seal: () => ChunkSeal): Payload {
  switch (declared) {
    case 'UNSIGNED-PAYLOAD':
      return { kind: 'unsigned' };
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'chunks', trailer: true, seal: undefined };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return { kind: 'chunks', trailer: false, seal: seal() };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return { kind: 'chunks', trailer: true, seal: seal() };
    default:
      if (/^[0-9a-f]{64}$/.test(declared)) return { kind: 'hashed', sha256: declared };
      throw new S3Error(
        'InvalidArgument',
        'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.',
      );
  }
}

function parseTimestamp(text: string): number | undefined {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match.map(Number);
  const ms = Date.UTC(year ?? 0, (month ?? 0) - 1, day, hour, minute, second);
  return Number.isNaN(ms) ? undefined : ms;
}

/** The signing key of the day, cached: nearly all requests use the same one. */
let lastKey: { readonly secret: string; readonly scope: string; readonly key: Buffer } | undefined;

function signingKey(secret: string, scope: string): Buffer {
  if (lastKey?.secret === secret && lastKey.scope === scope) return lastKey.key;
  const key = scope.split('/').reduce<Buffer>((derived, step) => hmac(derived, step), Buffer.from(`AWS4${secret}`));
  lastKey = { secret, scope, key };
  return key;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** Both are 64 hex digits. */
function isSame(expected: string, given: string): boolean {
  return timingSafeEqual(Buffer.from(expected), Buffer.from(given));
}

function doesNotMatch(): S3Error {
  return new S3Error(
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
  );
}
