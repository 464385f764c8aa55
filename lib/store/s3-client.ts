import { S3Client, type PutObjectCommand, type S3ClientConfig, type UploadPartCommand } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';

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
