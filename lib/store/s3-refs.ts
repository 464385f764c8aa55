import { PutObjectCommand } from '@aws-sdk/client-s3';
import { digestOf, hexOf } from '../oci/digest.ts';
import { sha256Base64 } from './checksums.ts';
import type { RefRecords } from './content-store.ts';
import { refKey } from './keys.ts';
import { withPayloadHash, type S3Bucket } from './s3-client.ts';
import { raise } from './s3-errors.ts';

/** The records as JSON objects beside the content: `refs/<registry>/<repository>/<pointer>.json`. */
export function s3RefRecords(bucket: S3Bucket): RefRecords {
  return {
    write: async (reference, record, signal) => {
      const body = Buffer.from(JSON.stringify(record));
      const digest = digestOf(body);
      const key = refKey(reference);
      const command = new PutObjectCommand({
        Bucket: bucket.bucket,
        Key: key,
        Body: body,
        ContentLength: body.byteLength,
        ContentType: 'application/json',
        ChecksumSHA256: sha256Base64(digest),
      });
      try {
        await bucket.client.send(withPayloadHash(command, hexOf(digest)), { abortSignal: signal });
      } catch (error) {
        raise(error, 'write ref record', `s3://${bucket.bucket}/${key}`, signal);
      }
    },
  };
}
