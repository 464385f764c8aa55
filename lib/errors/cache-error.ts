import type { ErrorCode } from './error-codes.ts';

/**
 * The errors of the domain. Code under lib/ throws these on purpose and nothing else; HTTP is known in lib/http alone.
 *
 * Every message says what was asked, what was found, and what to do about it, and holds no secret (I7).
 */

/** Where the cause lies: decides, with the code, what a caller may do about it. */
export type ErrorOrigin = 'client' | 'upstream' | 'store' | 'catalog' | 'lock';

export type { ErrorCode };

export interface CacheErrorFields {
  /** A code of the distribution specification, where one fits. */
  readonly code?: ErrorCode;
  /** What was being done: `resolve`, `read blob`, `publish`. */
  readonly op: string;
  readonly origin: ErrorOrigin;
  /** Whether the same call may succeed later. Decided where it is thrown. */
  readonly retryable: boolean;
  /** The earliest sensible moment for the next try, from now, where somebody said one. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class CacheError extends Error {
  readonly code: ErrorCode | undefined;
  readonly op: string;
  readonly origin: ErrorOrigin;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, fields: CacheErrorFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = new.target.name;
    this.code = fields.code;
    this.op = fields.op;
    this.origin = fields.origin;
    this.retryable = fields.retryable;
    this.retryAfterMs = fields.retryAfterMs;
  }
}

/** A reference, repository or tag outside the grammar. */
export class InvalidNameError extends CacheError {
  constructor(message: string) {
    super(message, { code: 'NAME_INVALID', op: 'parse reference', origin: 'client', retryable: false });
  }
}

/** A digest outside the grammar, or of an algorithm that the cache does not keep. */
export class InvalidDigestError extends CacheError {
  constructor(message: string) {
    super(message, { code: 'DIGEST_INVALID', op: 'parse digest', origin: 'client', retryable: false });
  }
}

/** A request that makes no sense: a bad platform, an unknown field. */
export class InvalidRequestError extends CacheError {
  /** The field of the request that is wrong: `images[0].reference`. */
  readonly field: string;

  constructor(field: string, message: string, cause?: unknown) {
    super(message, { op: 'read request', origin: 'client', retryable: false, cause });
    this.field = field;
  }
}

/** The registry is not configured, or the repository is not allowed by its rules. */
export class UnknownNameError extends CacheError {
  /** @param cause why, where the message must not say it */
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'NAME_UNKNOWN', op: 'find registry', origin: 'client', retryable: false, cause });
  }
}

/** A manifest whose bytes break the specification or a limit of the configuration. */
export class InvalidManifestError extends CacheError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'MANIFEST_INVALID', op: 'read manifest', origin: 'upstream', retryable: false, cause });
  }
}

/** The index lacks a requested platform, or the image is of another one. The message names what there is. */
export class PlatformMissingError extends CacheError {
  constructor(message: string) {
    super(message, { code: 'MANIFEST_UNKNOWN', op: 'choose platforms', origin: 'upstream', retryable: false });
  }
}

/** The upstream answered 404 for a manifest, and only then. */
export class ManifestUnknownError extends CacheError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'MANIFEST_UNKNOWN', op: 'read manifest', origin: 'upstream', retryable: false, cause });
  }
}

/** The upstream answered 404 for a blob, and only then. */
export class BlobUnknownError extends CacheError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'BLOB_UNKNOWN', op: 'read blob', origin: 'upstream', retryable: false, cause });
  }
}

/** A blob that is asked for by its digest alone is larger than the cache may take, or its registry does not say how large it is. */
export class BlobSizeError extends CacheError {
  constructor(message: string) {
    super(message, { op: 'find blob', origin: 'upstream', retryable: false });
  }
}

/** The upstream answered 401 or 403: never read as "absent" (I6). */
export class DeniedError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { code: 'DENIED', op, origin: 'upstream', retryable: false, cause });
  }
}

/** The upstream answered 429, still after the retries. */
export class RateLimitedError extends CacheError {
  constructor(op: string, message: string, retryAfterMs?: number) {
    super(message, {
      code: 'TOOMANYREQUESTS',
      op,
      origin: 'upstream',
      retryable: true,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }
}

/** The upstream could not be reached, broke off, or answered 5xx, still after the retries. */
export class UpstreamUnavailableError extends CacheError {
  /** True where time ran out, so that a door may answer 504 instead of 502. */
  readonly timedOut: boolean;

  constructor(
    op: string,
    message: string,
    options: { cause?: unknown; timedOut?: boolean; retryAfterMs?: number | undefined } = {},
  ) {
    const { cause, retryAfterMs } = options;
    super(message, {
      op,
      origin: 'upstream',
      retryable: true,
      cause,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
    this.timedOut = options.timedOut ?? false;
  }
}

/** A blob that comes slower than its pace. What came is not lost where the copy can be gone on with. */
export class SlowBlobError extends UpstreamUnavailableError {
  /** What this reading of it gave. */
  readonly bytes: number;

  constructor(op: string, message: string, bytes: number, cause: unknown) {
    super(op, message, { timedOut: true, cause });
    this.bytes = bytes;
  }
}

/**
 * Something upstream answered in a way we refuse to follow (a private address, a foreign realm, too many redirects, a page for people), or refused the request
 * as it is.
 */
export class UpstreamRefusedError extends CacheError {
  /** The registry itself said that the request is wrong (4xx). Else what answered may be another one, and the answer may be gone with it. */
  readonly saidByRegistry: boolean;

  constructor(op: string, message: string, cause?: unknown, { saidByRegistry = false } = {}) {
    super(message, { op, origin: 'upstream', retryable: false, cause });
    this.saidByRegistry = saidByRegistry;
  }
}

/** The bytes are not what their descriptor says: wrong digest or size. Nothing became visible. */
export class ContentMismatchError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { op, origin: 'upstream', retryable: true });
  }
}

/** So many of the blobs that failed are named in documents: with a message each they fit into what Step Functions keeps of an error. */
export const MOST_BLOBS_NAMED = 10;

/** A blob that could not be brought, and why. */
export interface BlobFailure {
  readonly digest: string;
  readonly error: CacheError;
}

/**
 * Blobs of a pull that could not be brought, each for its own reason; all others are there. Where it is one, name, code and words are those of its own error.
 */
export class BlobsFailedError extends CacheError {
  readonly failures: readonly BlobFailure[];
  /** Whose code and status are those of all: one that no later try can mend says more than one that may pass. */
  readonly lead: CacheError;

  constructor(failures: readonly [BlobFailure, ...BlobFailure[]]) {
    const { error: lead } = failures.find(({ error }) => !error.retryable) ?? failures[0];
    const rests = failures.flatMap(({ error: { retryAfterMs } }) => (retryAfterMs === undefined ? [] : [retryAfterMs]));
    const reasons = failures.map(({ digest, error: { message } }) => `${digest}: ${message}`);
    super(failures.length === 1 ? lead.message : [`${failures.length} blobs failed`, ...reasons].join('\n  '), {
      ...(lead.code === undefined ? {} : { code: lead.code }),
      op: lead.op,
      origin: 'upstream',
      retryable: failures.every(({ error }) => error.retryable),
      ...(rests.length === 0 ? {} : { retryAfterMs: Math.max(...rests) }),
      cause: failures.length === 1 ? lead.cause : new AggregateError(failures.map(({ error }) => error)),
    });
    this.failures = failures;
    this.lead = lead;
    if (failures.length === 1) this.name = lead.name;
  }
}

/** S3 failed, still after the SDK's retries. */
export class StoreError extends CacheError {
  constructor(op: string, message: string, cause?: unknown, retryable = true) {
    super(message, { op, origin: 'store', retryable, cause });
  }
}

/** What the catalogue says is there is not in the store. `validate --deep` records it; the next pull heals it. */
export class ContentLostError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { op, origin: 'store', retryable: true, cause });
  }
}

/** DynamoDB failed, still after the SDK's retries. */
export class CatalogError extends CacheError {
  constructor(op: string, message: string, cause?: unknown, retryable = true) {
    super(message, { op, origin: 'catalog', retryable, cause });
  }
}

/** Content that a publication may count on was swept, or found to be lost, after the pull had looked. Looking again mends it. */
export class ContentSweptError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { op, origin: 'catalog', retryable: true });
  }
}

/** Our lease was not renewed in time or somebody took it over. All work under it stops. */
export class LeaseLostError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { op, origin: 'lock', retryable: true, cause });
  }
}

/** Another pull of the same reference holds the lock, and goes on holding it. */
export class LeaseHeldError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { op, origin: 'lock', retryable: true });
  }
}

/** The service that runs workflows could not be reached, or is throttled. */
export class JobUnavailableError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { op, origin: 'catalog', retryable: true, cause });
  }
}

const LEAST_BUSY_MS = 2_000;
const BUSY_SPREAD_MS = 3_000;

/**
 * More callers than are taken at once. They come back after some seconds, not all at the same moment: 429 is what skopeo, podman and containerd come
 * back at, and 503 ends their pull.
 */
export class BusyError extends CacheError {
  constructor(op: string, message: string, retryAfterMs = LEAST_BUSY_MS + Math.random() * BUSY_SPREAD_MS) {
    super(message, { code: 'TOOMANYREQUESTS', op, origin: 'catalog', retryable: true, retryAfterMs });
  }
}

/** What another process of the cache tried for us failed there: for what the upstream said, or for a fault that may pass. */
export class FailedElsewhereError extends CacheError {
  /** What whoever asked is told. */
  readonly status: number;

  constructor(op: string, message: string, failure?: FailureElsewhere) {
    super(message, {
      ...(failure?.code === undefined ? {} : { code: failure.code }),
      op,
      origin: 'upstream',
      retryable: failure?.retryable ?? true,
      ...(failure?.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
    });
    this.status = failure?.status ?? 503;
  }
}

/** What that process said of it. */
interface FailureElsewhere {
  readonly message: string;
  readonly code?: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
}

/** Nobody that we know calls. */
export class UnauthenticatedError extends CacheError {
  constructor(message: string) {
    super(message, { code: 'UNAUTHORIZED', op: 'authenticate', origin: 'client', retryable: false });
  }
}

/** The caller may not use this repository or route. What a caller may not see looks like what does not exist where its existence would tell something. */
export class ForbiddenError extends CacheError {
  constructor(op: string, message: string) {
    super(message, { code: 'DENIED', op, origin: 'client', retryable: false });
  }
}

/** The time given to the call is over, or the user interrupted it. `pull` turns it into a `partial` receipt. */
export class DeadlineError extends CacheError {
  constructor(message: string) {
    super(message, { op: 'pull', origin: 'client', retryable: true });
  }
}

/** The configuration is wrong. The message lists every problem. */
export class ConfigError extends CacheError {
  constructor(message: string, cause?: unknown) {
    super(message, { op: 'read configuration', origin: 'client', retryable: false, cause });
  }
}

/** The credentials that the configuration names cannot be had: no such secret, no right to read it, nothing usable in it. No retry mends it. */
export class CredentialsError extends ConfigError {}
