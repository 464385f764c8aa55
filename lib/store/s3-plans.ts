import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { CacheError, ContentLostError, StoreError } from '../errors/cache-error.ts';
import { digestOf, hexOf } from '../oci/digest.ts';
import { sha256Base64 } from './checksums.ts';
import type { Plans } from './content-store.ts';
import { planKey } from './keys.ts';
import { isConflict, isNotFound, isPreconditionFailed, raise, type S3Bucket, withPayloadHash } from './s3-client.ts';

/** Plans as JSON objects of the bucket. */
export function s3Plans(bucket: S3Bucket): Plans {
  return {
    async write(pullId, number, bytes, signal) {
      const key = planKey(pullId, number);
      const where = locate(bucket, key);
      const digest = digestOf(bytes);
      const command = new PutObjectCommand({
        Bucket: bucket.bucket,
        Key: key,
        Body: bytes,
        ContentLength: bytes.byteLength,
        ContentType: 'application/json',
        ChecksumSHA256: sha256Base64(digest),
        IfNoneMatch: '*',
      });
      try {
        await bucket.client.send(withPayloadHash(command, hexOf(digest)), { abortSignal: signal });
      } catch (error) {
        if (!isPreconditionFailed(error) && !isConflict(error)) raise(error, 'write plan', where, signal);
        // The key exists: by our own first write, whose answer was lost, or with another plan.
        const found = await read(bucket, key, bytes.byteLength, signal);
        if (digestOf(found) === digest) return key;
        throw new StoreError('write plan', `${where} holds another plan of that number; plan again`, error);
      }
      return key;
    },
    read: (key, maxBytes, signal) => read(bucket, key, maxBytes, signal),
  };
}

async function read(bucket: S3Bucket, key: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const where = locate(bucket, key);
  // Stops an unwanted body, and its connection.
  const unwanted = new AbortController();
  const abortSignal = AbortSignal.any([signal, unwanted.signal]);
  try {
    const { Body: body, ContentLength: size = 0 } = await bucket.client.send(
      new GetObjectCommand({ Bucket: bucket.bucket, Key: key }),
      { abortSignal },
    );
    if (body === undefined || size > maxBytes) {
      throw new StoreError('read plan', `${where} has ${size} bytes, at most ${maxBytes} are read`, undefined, false);
    }
    return await body.transformToByteArray();
  } catch (error) {
    unwanted.abort();
    if (!(error instanceof CacheError) && isNotFound(error)) {
      throw new ContentLostError('read plan', `${where} is gone: plans are kept for some days only; plan again`, error);
    }
    return raise(error, 'read plan', where, signal);
  }
}

const locate = ({ bucket }: S3Bucket, key: string): string => `s3://${bucket}/${key}`;
