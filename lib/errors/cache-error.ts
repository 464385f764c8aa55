/**
 * The errors of the domain. Code under lib/ throws these on purpose and nothing else; only lib/http knows HTTP.
 *
 * A message says what was asked, what was found and what to do about it. It holds no secret (I7).
 */

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes */
export const ERROR_CODES = [
  'BLOB_UNKNOWN',
  'DENIED',
  'DIGEST_INVALID',
  'MANIFEST_INVALID',
  'MANIFEST_UNKNOWN',
  'NAME_INVALID',
  'NAME_UNKNOWN',
  'TOOMANYREQUESTS',
  'UNAUTHORIZED',
  'UNSUPPORTED',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Where the cause lies. Decides, with the code, what a caller can do about it. */
type ErrorOrigin = 'client' | 'upstream' | 'store' | 'catalog' | 'lock';

interface CacheErrorFields {
  /** A code of the distribution specification, where one fits. */
  readonly code?: ErrorCode | undefined;
  /** What was being done: `resolve`, `read blob`, `publish`. */
  readonly op: string;
  readonly origin: ErrorOrigin;
  /** Whether the same call may succeed later. Decided where the error is thrown. */
  readonly retryable: boolean;
  /** How long to wait before the next try, where that is known. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export class CacheError extends Error {
  readonly code: ErrorCode | undefined;
  readonly op: string;
  readonly origin: ErrorOrigin;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, { code, op, origin, retryable, retryAfterMs, cause }: CacheErrorFields) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.op = op;
    this.origin = origin;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The base of errors with fixed fields. A cause that is given explains what the message must not say. */
const errorOf = ({
  retryable = false,
  ...fields
}: Omit<CacheErrorFields, 'retryable'> & { readonly retryable?: boolean }) =>
  class extends CacheError {
    constructor(message: string, cause?: unknown) {
      super(message, { ...fields, retryable, cause });
    }
  };

/** The base of errors of the cache's own services. Most of them pass. */
const backendErrorOf = (origin: ErrorOrigin) =>
  class extends CacheError {
    constructor(op: string, message: string, cause?: unknown, retryable = true) {
      super(message, { op, origin, retryable, cause });
    }
  };

/** A reference, repository or tag outside the grammar. */
export class InvalidNameError extends errorOf({ code: 'NAME_INVALID', op: 'parse reference', origin: 'client' }) {}

/** A digest outside the grammar, or of an algorithm that the cache does not support. */
export class InvalidDigestError extends errorOf({ code: 'DIGEST_INVALID', op: 'parse digest', origin: 'client' }) {}

/** A request with a bad value: a malformed platform, an unknown field. */
export class InvalidRequestError extends CacheError {
  /** The field of the request that is wrong: `images[0].reference`. */
  readonly field: string;

  constructor(field: string, message: string, cause?: unknown) {
    super(message, { op: 'read request', origin: 'client', retryable: false, cause });
    this.field = field;
  }
}

/** The registry is not configured, or its rules do not allow the repository. */
export class UnknownNameError extends errorOf({ code: 'NAME_UNKNOWN', op: 'find registry', origin: 'client' }) {}

/** A manifest whose bytes violate the specification or a configured limit. */
export class InvalidManifestError extends errorOf({
  code: 'MANIFEST_INVALID',
  op: 'read manifest',
  origin: 'upstream',
}) {}

/** The index lacks a requested platform, or the image has another one. The message names what exists. */
export class PlatformMissingError extends errorOf({
  code: 'MANIFEST_UNKNOWN',
  op: 'choose platforms',
  origin: 'upstream',
}) {}

/** The upstream answered 404 for a manifest, and only then. */
export class ManifestUnknownError extends errorOf({
  code: 'MANIFEST_UNKNOWN',
  op: 'read manifest',
  origin: 'upstream',
}) {}

/** The upstream answered 404 for a blob, and only then. */
export class BlobUnknownError extends errorOf({ code: 'BLOB_UNKNOWN', op: 'read blob', origin: 'upstream' }) {}

/** A blob requested by digest alone is too large, or the registry does not give its size. */
export class BlobSizeError extends errorOf({ op: 'find blob', origin: 'upstream' }) {}

/** The upstream answered 401 or 403. Never treated as "absent" (I6). */
export class DeniedError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { code: 'DENIED', op, origin: 'upstream', retryable: false, cause });
  }
}

/** The upstream still answered 429 after all retries. */
export class RateLimitedError extends CacheError {
  constructor(op: string, message: string, retryAfterMs?: number) {
    super(message, { code: 'TOOMANYREQUESTS', op, origin: 'upstream', retryable: true, retryAfterMs });
  }
}

/** The upstream was unreachable, broke off, or answered 5xx, also after all retries. */
export class UpstreamUnavailableError extends CacheError {
  /** True for a timeout: the status is then 504 instead of 502. */
  readonly timedOut: boolean;

  constructor(
    op: string,
    message: string,
    options: { cause?: unknown; timedOut?: boolean; retryAfterMs?: number | undefined } = {},
  ) {
    const { cause, retryAfterMs, timedOut = false } = options;
    super(message, { op, origin: 'upstream', retryable: true, retryAfterMs, cause });
    this.timedOut = timedOut;
  }
}

/** A blob arrives more slowly than the required pace. A copy can continue from the bytes that did arrive. */
export class SlowBlobError extends UpstreamUnavailableError {
  /** Bytes received by this read. */
  readonly bytes: number;

  constructor(op: string, message: string, bytes: number, cause: unknown) {
    super(op, message, { timedOut: true, cause });
    this.bytes = bytes;
  }
}

/**
 * The upstream rejected the request itself, or answered in a way that we refuse to follow:
 * a private address, a foreign realm, too many redirects, an HTML page.
 */
export class UpstreamRefusedError extends CacheError {
  /** The registry itself rejected the request (4xx). Otherwise something else may have answered in its place. */
  readonly saidByRegistry: boolean;

  constructor(op: string, message: string, cause?: unknown, { saidByRegistry = false } = {}) {
    super(message, { op, origin: 'upstream', retryable: false, cause });
    this.saidByRegistry = saidByRegistry;
  }
}

/** The bytes do not match their descriptor: wrong digest or size. Nothing became visible. */
export class ContentMismatchError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { op, origin: 'upstream', retryable: true });
  }
}

/** Failed blobs that a document names. With their messages they fit into what Step Functions keeps of an error. */
export const MOST_BLOBS_NAMED = 10;

/** A blob that could not be copied, and why. */
export interface BlobFailure {
  readonly digest: string;
  readonly error: CacheError;
}

/** Blobs of a pull that failed, each for its own reason; all others are stored. A single one lends this error its name, code and message. */
export class BlobsFailedError extends CacheError {
  readonly failures: readonly BlobFailure[];
  /** Decides the code and status: the first failure that no retry can fix, otherwise the first of all. */
  readonly lead: CacheError;

  constructor(failures: readonly [BlobFailure, ...BlobFailure[]]) {
    const { error: lead } = failures.find(({ error }) => !error.retryable) ?? failures[0];
    const waits = failures.flatMap(({ error: { retryAfterMs } }) => retryAfterMs ?? []);
    const reasons = failures.map(({ digest, error: { message } }) => `${digest}: ${message}`);
    super(failures.length === 1 ? lead.message : [`${failures.length} blobs failed`, ...reasons].join('\n  '), {
      code: lead.code,
      op: lead.op,
      origin: 'upstream',
      retryable: failures.every(({ error }) => error.retryable),
      retryAfterMs: waits.length === 0 ? undefined : Math.max(...waits),
      cause: failures.length === 1 ? lead.cause : new AggregateError(failures.map(({ error }) => error)),
    });
    this.failures = failures;
    this.lead = lead;
    if (failures.length === 1) this.name = lead.name;
  }
}

/** S3 still failed after the SDK's retries. */
export class StoreError extends backendErrorOf('store') {}

/** Content that the catalogue lists is not in the store. `validate --deep` records it; the next pull repairs it. */
export class ContentLostError extends backendErrorOf('store') {}

/** DynamoDB still failed after the SDK's retries. */
export class CatalogError extends backendErrorOf('catalog') {}

/** Content that a pull found was swept or lost before it was published. Checking again fixes it. */
export class ContentSweptError extends backendErrorOf('catalog') {}

/** Our lease expired or was taken over. All work under it stops. */
export class LeaseLostError extends backendErrorOf('lock') {}

/** Another pull of the same reference holds the lock and keeps renewing it. */
export class LeaseHeldError extends backendErrorOf('lock') {}

/** The service that runs jobs is unreachable or throttles us. */
export class JobUnavailableError extends backendErrorOf('catalog') {}

/**
 * Too many callers at once. They return after 2 to 5 s, spread at random.
 * 429, because skopeo, podman and containerd retry it; a 503 ends their pull.
 */
export class BusyError extends CacheError {
  constructor(op: string, message: string, retryAfterMs = 2_000 + Math.random() * 3_000) {
    super(message, { code: 'TOOMANYREQUESTS', op, origin: 'catalog', retryable: true, retryAfterMs });
  }
}

/** Work that another process of the cache did for us failed there, in the upstream or by a fault that may pass. */
export class FailedElsewhereError extends CacheError {
  /** The HTTP status for the caller. */
  readonly status: number;

  constructor(
    op: string,
    message: string,
    failure?: Pick<CacheErrorFields, 'code' | 'retryable' | 'retryAfterMs'> & { readonly status: number },
  ) {
    const { code, retryable = true, retryAfterMs, status = 503 } = failure ?? {};
    super(message, { code, op, origin: 'upstream', retryable, retryAfterMs });
    this.status = status;
  }
}

/** The caller has no valid credentials for the cache. */
export class UnauthenticatedError extends errorOf({ code: 'UNAUTHORIZED', op: 'authenticate', origin: 'client' }) {}

/** The caller may not use this repository or route. */
export class ForbiddenError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { code: 'DENIED', op, origin: 'client', retryable: false });
  }
}

/** The call's deadline passed, or the user interrupted it. `pull` turns it into a `partial` receipt. */
export class DeadlineError extends errorOf({ op: 'pull', origin: 'client', retryable: true }) {}

/** The configuration is wrong. The message lists every problem. */
export class ConfigError extends errorOf({ op: 'read configuration', origin: 'client' }) {}

/** A required environment variable is not set; `what` is what it would name. */
export const notSet = (variable: string, what: string): ConfigError =>
  new ConfigError(`${variable} is not set: it names ${what}`);

/** The configured credentials are unavailable: no such secret, no right to read it, or nothing usable in it. No retry fixes it. */
export class CredentialsError extends ConfigError {}
