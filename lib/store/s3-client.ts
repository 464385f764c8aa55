import { type PutObjectCommand, S3Client, type S3ClientConfig, type UploadPartCommand } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { CacheError, StoreError } from '../errors/cache-error.ts';

/** What the SDK's errors share; those of the network have no status. */
interface S3Failure {
  readonly name: string;
  readonly message: string;
  readonly status: number | undefined;
}

function failureOf(error: unknown): S3Failure {
  if (!(error instanceof Error)) return { name: typeof error, message: String(error), status: undefined };
  const metadata = (error as { $metadata?: { httpStatusCode?: number } }).$metadata;
  return { name: error.name, message: error.message, status: metadata?.httpStatusCode };
}

/** The object (or the upload) is not there; a missing bucket is a fault of the configuration instead (I6). */
export function isNotFound(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return status === 404 && name !== 'NoSuchBucket';
}

/** 412: something is under the key (`If-None-Match: *`), or it is no longer what we saw (`If-Match`). */
export function isPreconditionFailed(error: unknown): boolean {
  return failureOf(error).status === 412;
}

/** 409: another write of the key is under way. */
export function isConflict(error: unknown): boolean {
  return failureOf(error).status === 409;
}

/** 400: of a Complete, that parts or checksums are not those that S3 has. */
export function isBadRequest(error: unknown): boolean {
  return failureOf(error).status === 400;
}

/** S3 computed another checksum over the bytes than the one sent along. */
export function isChecksumRefused(error: unknown): boolean {
  return ['BadDigest', 'XAmzContentSHA256Mismatch', 'InvalidDigest'].includes(failureOf(error).name);
}

/** `error` as a domain error that says what S3 answered and what to do about it. Domain errors pass unchanged. */
export function storeError(op: string, where: string, error: unknown): CacheError {
  if (error instanceof CacheError) return error;
  const { name, message, status } = failureOf(error);
  if (status === undefined) {
    // Nobody answered, or nothing was sent: without credentials no later try helps either.
    const hint = name === 'CredentialsProviderError' ? '; give credentials by the usual AWS variables or role' : '';
    return new StoreError(op, `${op} ${where}: no answer from S3: ${name}: ${message}${hint}`, error, hint === '');
  }
  // 404: what vanished in between (an upload, an object being replaced) can be begun again.
  const retryable =
    status >= 500 || [408, 409, 412, 429].includes(status) || isNotFound(error) || name === 'RequestTimeout';
  return new StoreError(op, `${op} ${where}: S3 answered ${status} ${name}${hintFor(status, name)}`, error, retryable);
}

function hintFor(status: number, name: string): string {
  if (name === 'NoSuchBucket') return '; create the bucket or correct its name in the configuration';
  if (status === 301) return '; the bucket is in another region: set AWS_REGION to it';
  if (status === 403) {
    return '; the role needs s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListMultipartUploadParts on the objects, and s3:ListBucket on the bucket (without it S3 answers 403 for a missing key)';
  }
  if (status === 507) return '; its disk is full';
  return status >= 500 || status === 429 ? ' after all retries; try again later' : '';
}

/**
 * Throws what a failed request means: the signal's reason if it was aborted, whatever the SDK made of that; else {@link storeError}.
 */
export function raise(error: unknown, op: string, where: string, signal: AbortSignal): never {
  signal.throwIfAborted();
  throw storeError(op, where, error);
}

/** A bucket and the client that reaches it. */
export interface S3Bucket {
  readonly client: S3Client;
  readonly bucket: string;
}

/** What the SDK's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL_S3`, …) do not say or shall not say. */
export type S3ClientOptions = Pick<S3ClientConfig, 'region' | 'endpoint' | 'credentials'> & {
  /** For explicit endpoints, whose host names have no bucket in them. */
  readonly forcePathStyle?: boolean;
};

const MAX_ATTEMPTS = 5;
const CONNECT_TIMEOUT_MS = 5_000;
/** Without a byte in either direction. Not a limit for a whole request: large parts on slow links are no fault. */
const IDLE_TIMEOUT_MS = 30_000;

/** The client for the store: SDK retries (5 tries, exponential with jitter), idle time-outs, and checksums only where the store sets them. */
export function s3Client(options: S3ClientOptions = {}): S3Client {
  return new S3Client({
    ...options,
    maxAttempts: MAX_ATTEMPTS,
    retryMode: 'standard',
    // The store computes what it needs, once; the SDK would hash every body a second time.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // For each request with `Expect`, the SDK opens a connection of its own: a TLS handshake for every part.
    expectContinueHeader: false,
    requestHandler: new NodeHttpHandler({ connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS }),
  });
}

/** For parts: their CRC-32 is a signed header that S3 verifies, so the body need not be hashed for the signature too. */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** Signs the command with this payload hash instead of hashing the body again. */
export function withPayloadHash<C extends PutObjectCommand | UploadPartCommand>(command: C, payloadHash: string): C {
  const stack = command.middlewareStack as PutObjectCommand['middlewareStack'];
  stack.add(
    (next) => (args) => {
      const request = args.request as { headers: Record<string, string> };
      request.headers['x-amz-content-sha256'] = payloadHash;
      return next(args);
    },
    { step: 'build', name: 'payloadHash' },
  );
  return command;
}
