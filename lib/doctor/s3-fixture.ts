import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { crc32Base64 } from '../store/checksums.ts';
import { isNotFound, s3Client, UNSIGNED_PAYLOAD, withPayloadHash } from '../store/s3-client.ts';
import { must, SkipError } from './check.ts';
import type { Target } from './target.ts';

/** For the cleanup. */
const CLEANUP_MS = 20_000;

/** A part of an upload, as in the request Complete. */
export interface Part {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
  readonly ChecksumCRC32?: string;
  readonly ChecksumSHA256?: string;
}

/** The bucket, with a folder for the checks of this run: disposal removes everything under the keys that it gave out. */
export interface S3Fixture extends AsyncDisposable {
  readonly client: S3Client;
  readonly bucket: string;
  /** A key of this run: under `doctor/<uuid>/`, or under another folder for writes that must be refused there. */
  key(name: string, folder?: string): string;
  put(key: string, body: string, more: Partial<PutObjectCommandInput>, signal: AbortSignal): Promise<string>;
  text(key: string, signal: AbortSignal, ifMatch?: string): Promise<string>;
  head(key: string, signal: AbortSignal): Promise<HeadObjectCommandOutput>;
  isThere(key: string, signal: AbortSignal): Promise<boolean>;
  /** Begins an upload, by default with the same checksum type as the code's own uploads. */
  begin(key: string, checksum: 'CRC32' | 'SHA256', signal: AbortSignal): Promise<string>;
  /** Uploads one part with its CRC-32 or the given one, unsigned like the code does. */
  part(upload: OpenUpload, number: number, bytes: Buffer, signal: AbortSignal, crc?: string): Promise<Part>;
}

export interface OpenUpload {
  readonly key: string;
  readonly uploadId: string;
}

export const crcOf = (bytes: Buffer): string => crc32Base64(crc32(bytes));

export function openS3Fixture({ deployment, isLocal, region }: Target): S3Fixture | SkipError {
  if (deployment instanceof SkipError) return deployment;
  const { bucket } = deployment;
  const client = s3Client({ region, ...(isLocal ? { forcePathStyle: true } : {}) });
  const run = randomUUID();
  const keys = new Set<string>();
  const uploads: OpenUpload[] = [];
  const fixture: S3Fixture = {
    client,
    bucket,
    key(name, folder = 'doctor') {
      const key = `${folder}/${folder === 'doctor' ? run : `doctor-${run}`}/${name}`;
      keys.add(key);
      return key;
    },
    async put(key, body, more, abortSignal) {
      const command = new PutObjectCommand({ Bucket: bucket, Key: key, Body: body, ...more });
      const { ETag: etag = '' } = await client.send(command, { abortSignal });
      return etag;
    },
    async text(key, abortSignal, ifMatch) {
      const condition = ifMatch === undefined ? {} : { IfMatch: ifMatch };
      const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key, ...condition }), {
        abortSignal,
      });
      return (await answer.Body?.transformToString('utf8')) ?? '';
    },
    head: (key, abortSignal) =>
      client.send(new HeadObjectCommand({ Bucket: bucket, Key: key, ChecksumMode: 'ENABLED' }), { abortSignal }),
    async isThere(key, abortSignal) {
      try {
        await fixture.head(key, abortSignal);
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    },
    async begin(key, checksum, abortSignal) {
      const command = new CreateMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        ChecksumAlgorithm: checksum,
        ChecksumType: checksum === 'CRC32' ? 'FULL_OBJECT' : 'COMPOSITE',
      });
      const { UploadId: uploadId } = await client.send(command, { abortSignal });
      must(uploadId !== undefined, 'S3 began an upload but returned no id');
      uploads.push({ key, uploadId });
      return uploadId;
    },
    async part({ key, uploadId }, number, bytes, abortSignal, crc = crcOf(bytes)) {
      const command = new UploadPartCommand({
        Bucket: bucket,
        Key: key,
        UploadId: uploadId,
        PartNumber: number,
        Body: bytes,
        ContentLength: bytes.byteLength,
        ChecksumCRC32: crc,
      });
      const { ETag } = await client.send(withPayloadHash(command, UNSIGNED_PAYLOAD), { abortSignal });
      return { PartNumber: number, ETag, ChecksumCRC32: crc };
    },
    async [Symbol.asyncDispose]() {
      try {
        await cleanUp({ client, bucket, keys, uploads });
      } finally {
        client.destroy();
      }
    },
  };
  return fixture;
}

interface Left {
  readonly client: S3Client;
  readonly bucket: string;
  readonly keys: ReadonlySet<string>;
  readonly uploads: readonly OpenUpload[];
}

/** Aborts all uploads first, so that none is completed after its key was removed. Tries everything, then throws the first failure. */
async function cleanUp({ client, bucket, keys, uploads }: Left): Promise<void> {
  const abortSignal = AbortSignal.timeout(CLEANUP_MS);
  const aborted = uploads.map(async ({ key, uploadId }) => {
    try {
      const command = new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId });
      await client.send(command, { abortSignal });
    } catch (error) {
      if (!isNotFound(error)) throw error; // Completed or aborted by its check.
    }
  });
  const settled = await Promise.allSettled(aborted);
  const deletes = [...keys].map((key) =>
    client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), { abortSignal }),
  );
  for (const end of [...settled, ...(await Promise.allSettled(deletes))]) {
    if (end.status === 'rejected') {
      throw new Error('what is left under doctor/, or of uploads, must be removed by hand', { cause: end.reason });
    }
  }
}
