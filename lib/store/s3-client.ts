import { type PutObjectCommand, S3Client, type S3ClientConfig, type UploadPartCommand } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { CacheError, StoreError } from '../errors/cache-error.ts';

/** The common fields of the SDK's errors; network errors have no status. */
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

/** 404: the object or the upload does not exist. A missing bucket is an error of the configuration instead (I6). */
export function isNotFound(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return status === 404 && name !== 'NoSuchBucket';
}

/** 412: the key exists (`If-None-Match: *`), or its object has changed (`If-Match`). */
export function isPreconditionFailed(error: unknown): boolean {
  return failureOf(error).status === 412;
}

/** 409: another write of the key is under way. */
export function isConflict(error: unknown): boolean {
  return failureOf(error).status === 409;
}

/** 400: in answer to a Complete, parts or checksums differ from those that S3 has. */
export function isBadRequest(error: unknown): boolean {
  return failureOf(error).status === 400;
}

/** S3 computed another checksum of the bytes than the request stated. */
export function isChecksumRefused(error: unknown): boolean {
  return ['BadDigest', 'XAmzContentSHA256Mismatch', 'InvalidDigest'].includes(failureOf(error).name);
}

/** `error` as a domain error with S3's answer and what to do about it. Domain errors pass unchanged. */
export function storeError(op: string, where: string, error: unknown): CacheError {
  if (error instanceof CacheError) return error;
  const { name, message, status } = failureOf(error);
  if (status === undefined) {
    // No answer, or nothing was sent. Without credentials a later try does not help.
    const hint = name === 'CredentialsProviderError' ? '; give credentials by the usual AWS variables or role' : '';
    return new StoreError(op, `${op} ${where}: no answer from S3: ${name}: ${message}${hint}`, error, hint === '');
  }
  // 404: an upload, or an object that was being replaced, is gone; the caller can begin again.
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
 * Throws the signal's reason if it was aborted, whatever error the SDK made of that; else {@link storeError}.
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

/** Overrides the SDK's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL_S3`, …). */
export type S3ClientOptions = Pick<S3ClientConfig, 'region' | 'endpoint' | 'credentials'> & {
  /** For endpoints without a host name for each bucket. */
  readonly forcePathStyle?: boolean;
};

const MAX_ATTEMPTS = 5;
const CONNECT_TIMEOUT_MS = 5_000;
/** Without a byte in either direction. Not a limit for a whole request: a large part may take long on a slow link. */
const IDLE_TIMEOUT_MS = 30_000;

/**
 * The client for the store: SDK retries (5 tries, exponential back-off with jitter), idle time-outs, and no
 * checksums but those that the store sets.
 */
export function s3Client(options: S3ClientOptions = {}): S3Client {
  return new S3Client({
    ...options,
    maxAttempts: MAX_ATTEMPTS,
    retryMode: 'standard',
    // The store computes the checksums that it needs; the SDK would hash every body a second time.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // The SDK opens a new connection for each request with `Expect`: a TLS handshake for every part.
    expectContinueHeader: false,
    requestHandler: new NodeHttpHandler({ connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS }),
  });
}

/** For parts: S3 verifies their CRC-32, a signed header, so the signature need not cover a hash of the body, too. */
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
