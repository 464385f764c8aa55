import { ListPartsCommand, type Part } from '@aws-sdk/client-s3';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { appendCrc32, crc32Base64, crc32FromBase64 } from './checksums.ts';
import type { Checkpoint } from './content-store.ts';
import type { ResumableHash } from './hash-state.ts';
import { blobObjectKey } from './keys.ts';
import type { PartPlan } from './parts.ts';
import { isNotFound, raise, type S3Bucket } from './s3-client.ts';
import { locate } from './s3-content.ts';
import type { UploadedPart } from './s3-parts.ts';

/** The bucket's lifecycle rule aborts uploads seven days after their start, and a resumed one needs time to finish. */
const MAX_AGE_MS = 6 * 24 * 60 * 60 * 1000;
const CRC32_BYTES = 4;

/** A predecessor's upload, compared with what S3 has of it. */
export interface ResumedUpload {
  readonly uploadId: string;
  readonly startedMs: number;
  /** Parts 1…n. */
  readonly parts: readonly UploadedPart[];
  /** Bytes of those parts. */
  readonly offset: number;
  /** Of those bytes. */
  readonly crc32: number;
  readonly hash: ResumableHash;
}

/**
 * The upload of a checkpoint, if it can be resumed: of the same trust domain (I9), young enough, with parts
 * of the same size and a hash state that this version can read; and S3 has its parts, with the sizes and the
 * CRC-32 of the checkpoint. Else undefined.
 *
 * @throws StoreError if S3 does not answer: that says nothing about the upload (I6).
 */
export async function findResumable(
  bucket: S3Bucket,
  content: Descriptor,
  domain: TrustDomain,
  plan: PartPlan,
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<ResumedUpload | undefined> {
  const { uploadId, startedMs, partBytes, partsDone, hashState } = checkpoint;
  const offset = partsDone * partBytes;
  const isOurs = checkpoint.domain === domain && Date.now() - startedMs < MAX_AGE_MS;
  const fits = plan.parts > 1 && partBytes === plan.partBytes && partsDone > 0 && offset <= content.size;
  if (!isOurs || !fits || hashState === undefined) return undefined;
  const { resumeHash } = await import('./hash-state.ts');
  const hash = await resumeHash(algorithmOf(content.digest), hashState);
  if (hash === undefined) return undefined;

  const listed = await listParts(bucket, content, uploadId, signal);
  const parts = listed?.slice(0, partsDone).map((part, index) => wholePart(part, index + 1, partBytes));
  if (parts?.length !== partsDone || !parts.every((part) => part !== undefined)) return undefined;
  const crc32 = parts.reduce((crc, part) => appendCrc32(crc, crc32FromBase64(part.crc32), partBytes), 0);
  if (crc32Base64(crc32) !== checkpoint.crc32) return undefined;
  return { uploadId, startedMs, parts, offset, crc32, hash };
}

/** The parts in the order of their numbers; one page has all parts of an upload of ours. Undefined if S3 has no such upload. */
async function listParts(
  bucket: S3Bucket,
  { digest }: Descriptor,
  uploadId: string,
  signal: AbortSignal,
): Promise<Part[] | undefined> {
  const command = new ListPartsCommand({ Bucket: bucket.bucket, Key: blobObjectKey(digest), UploadId: uploadId });
  try {
    const { Parts: parts = [] } = await bucket.client.send(command, { abortSignal: signal });
    return parts;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    return raise(error, 'list parts', locate(bucket, digest), signal);
  }
}

function wholePart(part: Part, number: number, partBytes: number): UploadedPart | undefined {
  const { PartNumber: found, Size: size, ETag: etag, ChecksumCRC32: crc32 } = part;
  if (found !== number || size !== partBytes || etag === undefined || crc32 === undefined) return undefined;
  return Buffer.from(crc32, 'base64').byteLength === CRC32_BYTES ? { etag, crc32 } : undefined;
}
