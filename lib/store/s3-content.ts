import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { sleep } from '../async/time.ts';
import { crc32 } from 'node:zlib';
import { ContentMismatchError, StoreError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, digestOf, hexOf, type Digest } from '../oci/digest.ts';
import { drainVerified } from '../oci/verify.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { crc32Base64, s3ChecksumOf, sha256Base64 } from './checksums.ts';
import type { StoredContent } from './content-store.ts';
import { blobObjectKey } from './keys.ts';
import {
  isChecksumRefused,
  isConflict,
  isNotFound,
  isPreconditionFailed,
  raise,
  type S3Bucket,
  withPayloadHash,
} from './s3-client.ts';

type Content = Pick<Descriptor, 'digest' | 'size'>;

/** Not the media type: two manifests may give the same bytes different ones. */
export const CONTENT_TYPE = 'application/octet-stream';
const CONFLICT_TRIES = 5;
const CONFLICT_WAIT_MS = 200;
const READ_TRIES = 2;

/** The S3 URI of the content, for messages. */
export const locate = ({ bucket }: S3Bucket, digest: Digest): string => `s3://${bucket}/${blobObjectKey(digest)}`;

/** The object by HEAD. Undefined on 404 and only then (I6). */
export async function findContent(
  bucket: S3Bucket,
  digest: Digest,
  signal: AbortSignal,
): Promise<StoredContent | undefined> {
  const command = new HeadObjectCommand({ Bucket: bucket.bucket, Key: blobObjectKey(digest), ChecksumMode: 'ENABLED' });
  try {
    return storedContent(await bucket.client.send(command, { abortSignal: signal }));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    return raise(error, 'find content', locate(bucket, digest), signal);
  }
}

function storedContent(head: HeadObjectCommandOutput): StoredContent {
  if (head.ContentLength === undefined || head.ETag === undefined) {
    throw new StoreError('find content', 'S3 answered HEAD without Content-Length or ETag; is the endpoint really S3?');
  }
  // A composite checksum is a checksum of the parts' checksums, and cannot be compared with the digest.
  const composite = head.ChecksumType === 'COMPOSITE' || head.ChecksumSHA256?.includes('-') === true;
  const domain = head.Metadata?.domain;
  return {
    size: head.ContentLength,
    etag: head.ETag,
    ...(head.ChecksumType === 'FULL_OBJECT' && head.ChecksumCRC32 !== undefined ? { crc32: head.ChecksumCRC32 } : {}),
    ...(!composite && head.ChecksumSHA256 !== undefined ? { sha256: head.ChecksumSHA256 } : {}),
    ...(domain === undefined ? {} : { domain: domain as TrustDomain }),
  };
}

/**
 * Stores verified bytes by one conditional PUT with their SHA-256: S3 refuses other bytes. Also succeeds if
 * they are there already.
 *
 * @throws ContentMismatchError if the bytes are not `content`; StoreError.
 */
export async function putContent(
  bucket: S3Bucket,
  content: Content,
  bytes: Uint8Array,
  domain: TrustDomain,
  signal: AbortSignal,
): Promise<StoredContent> {
  const where = locate(bucket, content.digest);
  if (bytes.byteLength !== content.size) {
    throw new ContentMismatchError(
      'put content',
      `${content.digest} of ${content.size} bytes was to be stored, but ${bytes.byteLength} bytes were given; nothing was kept`,
    );
  }
  const signed = sha256Of(content.digest, bytes);
  const sha256 = sha256Base64(signed);
  const put = async (): Promise<StoredContent> => {
    const command = new PutObjectCommand({
      Bucket: bucket.bucket,
      Key: blobObjectKey(content.digest),
      Body: bytes,
      ContentLength: content.size,
      ContentType: CONTENT_TYPE,
      ChecksumSHA256: sha256,
      IfNoneMatch: '*',
      Metadata: { domain },
    });
    const { ETag: etag = '' } = await bucket.client.send(withPayloadHash(command, hexOf(signed)), {
      abortSignal: signal,
    });
    return { size: content.size, etag, sha256, domain };
  };
  const expected = { ...content, sha256, crc32: () => crc32Base64(crc32(bytes)) };
  try {
    return await writeOnce(bucket, expected, () => retryConflicts(put, signal), signal);
  } catch (error) {
    if (!isChecksumRefused(error)) return raise(error, 'put content', where, signal);
    throw new ContentMismatchError(
      'put content',
      `${content.digest} was to be stored, but S3 found another digest over the bytes; nothing was kept`,
    );
  }
}

/** The SHA-256 digest of the bytes. S3 verifies it. A SHA-512 digest is verified here, because S3 has no SHA-512. */
function sha256Of(digest: Digest, bytes: Uint8Array): Digest {
  const algorithm = algorithmOf(digest);
  if (algorithm === 'sha256') return digest;
  const found = digestOf(bytes, algorithm);
  if (found === digest) return digestOf(bytes);
  throw new ContentMismatchError(
    'put content',
    `${digest} was to be stored, but the bytes have digest ${found}; nothing was kept`,
  );
}

/** Retries after 409: another write of the key is under way. Soon the object is there (412), or that write has failed. */
async function retryConflicts<T>(write: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await write();
    } catch (error) {
      if (!isConflict(error) || tries === CONFLICT_TRIES) throw error;
    }
    await pause(tries, signal);
  }
}

/** A random wait, longer with each try. */
export async function pause(tries: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.random() * CONFLICT_WAIT_MS * 2 ** (tries - 1), signal);
}

/** What the object under the key must be. */
export interface ExpectedContent extends Content {
  /** Base64, of the whole content; set if the digest is not SHA-256. */
  readonly sha256?: string;
  /** Base64, of the whole content. */
  readonly crc32: () => string;
}

/**
 * Runs a conditional write. If the key exists already (412; perhaps our own write, whose answer was lost),
 * right content is a success, and wrong content is deleted and written again, once.
 */
export async function writeOnce(
  bucket: S3Bucket,
  expected: ExpectedContent,
  write: () => Promise<StoredContent>,
  signal: AbortSignal,
): Promise<StoredContent> {
  try {
    return await write();
  } catch (error) {
    if (!isPreconditionFailed(error)) throw error;
  }
  const found = await findContent(bucket, expected.digest, signal);
  if (found !== undefined) {
    if (await isExpected(bucket, found, expected, signal)) return found;
    await deleteWrong(bucket, expected.digest, found.etag, signal);
  }
  try {
    return await write();
  } catch (error) {
    if (!isPreconditionFailed(error)) throw error;
    const again = await findContent(bucket, expected.digest, signal);
    if (again !== undefined && (await isExpected(bucket, again, expected, signal))) return again;
    throw new StoreError(
      'write content',
      `${locate(bucket, expected.digest)} had wrong content, was deleted, and has wrong content again; find out who else writes to this bucket`,
      error,
    );
  }
}

/**
 * Whether the object is the expected content: by size and checksum, or by its bytes if S3 keeps no checksum
 * that can be compared. A body that breaks off is read once more: the embedded store removes a damaged object
 * when it reads it.
 */
export async function isExpected(
  bucket: S3Bucket,
  found: StoredContent,
  expected: Content & Partial<ExpectedContent>,
  signal: AbortSignal,
): Promise<boolean> {
  if (found.size !== expected.size) return false;
  const sha256 = expected.sha256 ?? s3ChecksumOf(expected.digest);
  if (found.sha256 !== undefined && sha256 !== undefined) return found.sha256 === sha256;
  if (found.crc32 !== undefined && expected.crc32 !== undefined) return found.crc32 === expected.crc32();
  const command = new GetObjectCommand({
    Bucket: bucket.bucket,
    Key: blobObjectKey(expected.digest),
    IfMatch: found.etag,
  });
  for (let tries = 1; ; tries += 1) {
    try {
      const { Body: body } = await bucket.client.send(command, { abortSignal: signal });
      await drainVerified(body as AsyncIterable<Uint8Array>, expected);
      return true;
    } catch (error) {
      if (error instanceof ContentMismatchError) return false;
      // Gone or replaced since it was found.
      if (isNotFound(error) || isPreconditionFailed(error)) return false;
      if (tries === READ_TRIES || signal.aborted) {
        return raise(error, 'check content', locate(bucket, expected.digest), signal);
      }
    }
  }
}

async function deleteWrong(bucket: S3Bucket, digest: Digest, etag: string, signal: AbortSignal): Promise<void> {
  const command = new DeleteObjectCommand({ Bucket: bucket.bucket, Key: blobObjectKey(digest), IfMatch: etag });
  try {
    await bucket.client.send(command, { abortSignal: signal });
  } catch (error) {
    // Gone or replaced meanwhile: another process repairs it, too, and the next write decides.
    if (isNotFound(error) || isPreconditionFailed(error)) return;
    raise(error, 'delete wrong content', locate(bucket, digest), signal);
  }
}
