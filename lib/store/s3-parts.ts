import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { setTimeout as sleep } from 'node:timers/promises';
import { withGrace } from '../async/time.ts';
import { StoreError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { crc32Base64 } from './checksums.ts';
import type { StoredContent } from './content-store.ts';
import { blobObjectKey } from './keys.ts';
import { isConflict, isNotFound, raise, type S3Bucket, UNSIGNED_PAYLOAD, withPayloadHash } from './s3-client.ts';
import { CONTENT_TYPE, findContent, isExpected, locate, pause, writeOnce, type ExpectedContent } from './s3-content.ts';
import type { ResumedUpload } from './s3-resume.ts';

/** Enough for a request and its retries, after the caller's deadline. */
const ABORT_TIMEOUT_MS = 5_000;
const ABORT_TRIES = 3;
const ABORT_AGAIN_MS = 100;
/** Polls for the object of another writer that finished first. */
const WINNER_POLLS = 4;

export interface UploadedPart {
  readonly etag: string;
  readonly crc32: string;
}

/**
 * A multipart upload to the final key, invisible until it is completed. Begun at S3 with the first part,
 * unless it resumes a predecessor's upload.
 *
 * The first failure stops the other parts, and is the one that {@link PartUploads.settle} throws.
 */
export class PartUploads {
  readonly #bucket: S3Bucket;
  readonly #digest: Digest;
  readonly #domain: TrustDomain;
  readonly #caller: AbortSignal;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #uploaded: (UploadedPart | undefined)[];
  readonly #tasks: Promise<void>[] = [];
  #created: Promise<string> | undefined;
  #completed = false;
  #failure: { readonly error: unknown } | undefined;

  /** Set once S3 has begun the upload. */
  uploadId: string | undefined;
  /** Epoch milliseconds, taken before the upload was begun. */
  startedMs: number | undefined;

  constructor(bucket: S3Bucket, digest: Digest, domain: TrustDomain, signal: AbortSignal, resumed?: ResumedUpload) {
    this.#bucket = bucket;
    this.#digest = digest;
    this.#domain = domain;
    this.#caller = signal;
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
    this.#uploaded = [...(resumed?.parts ?? [])];
    if (resumed === undefined) return;
    this.uploadId = resumed.uploadId;
    this.startedMs = resumed.startedMs;
    this.#created = Promise.resolve(resumed.uploadId);
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Parts 1…n that are all uploaded. */
  get partsDone(): number {
    const open = this.#uploaded.indexOf(undefined);
    return open < 0 ? this.#uploaded.length : open;
  }

  /** Parts that were begun, with those of a predecessor. */
  get started(): number {
    return this.#uploaded.length;
  }

  /** Starts the upload of the next part, whose CRC-32 is `crc`. `release` is called when no one reads `bytes` any more. */
  start(bytes: Buffer, crc: number, release: () => void): void {
    const index = this.#uploaded.push(undefined) - 1;
    const task = this.#upload(index + 1, bytes, crc32Base64(crc))
      .then((part) => {
        this.#uploaded[index] = part;
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
        this.#stop.abort();
      })
      .finally(release);
    this.#tasks.push(task);
  }

  /** Waits for all parts. Throws the first failure. */
  async settle(): Promise<void> {
    await Promise.all(this.#tasks);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Stops the parts under way, and waits until they have ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#tasks);
  }

  async #upload(number: number, bytes: Buffer, crc: string): Promise<UploadedPart> {
    this.#created ??= this.#create();
    const uploadId = await this.#created;
    const command = new UploadPartCommand({
      Bucket: this.#bucket.bucket,
      Key: blobObjectKey(this.#digest),
      UploadId: uploadId,
      PartNumber: number,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ChecksumCRC32: crc,
    });
    try {
      // If S3 answers early (503), the SDK retries while the first body may still be under way, and the
      // buffer may be lent again before that
      // body is sent: it then contradicts its signed CRC-32 and is refused.
      const { ETag: etag } = await this.#bucket.client.send(withPayloadHash(command, UNSIGNED_PAYLOAD), {
        abortSignal: this.#signal,
      });
      if (etag === undefined) throw new StoreError('upload part', `S3 stored part ${number} but named no ETag`);
      return { etag, crc32: crc };
    } catch (error) {
      return raise(error, 'upload part', `${number} of ${locate(this.#bucket, this.#digest)}`, this.#caller);
    }
  }

  async #create(): Promise<string> {
    this.startedMs = Date.now();
    const command = new CreateMultipartUploadCommand({
      Bucket: this.#bucket.bucket,
      Key: blobObjectKey(this.#digest),
      ContentType: CONTENT_TYPE,
      ChecksumAlgorithm: 'CRC32',
      ChecksumType: 'FULL_OBJECT',
      Metadata: { domain: this.#domain },
    });
    try {
      // Wait for the id even if stopped: an upload without a known id cannot be discarded.
      this.#signal.throwIfAborted();
      const { UploadId: uploadId } = await withGrace(this.#signal, ABORT_TIMEOUT_MS, (abortSignal) =>
        this.#bucket.client.send(command, { abortSignal }),
      );
      if (uploadId === undefined) throw new StoreError('begin upload', 'S3 began an upload but named no id');
      this.uploadId = uploadId;
      return uploadId;
    } catch (error) {
      return raise(error, 'begin upload', locate(this.#bucket, this.#digest), this.#caller);
    }
  }

  /**
   * Makes the content visible. All parts must be settled and the digest compared before. Also succeeds if the
   * same content is there already; then this upload is discarded.
   *
   * @throws StoreError, retryable if the upload must start again (409, or the upload is gone): fetch the blob
   * again.
   */
  async complete(content: Descriptor, fullCrc32: string): Promise<StoredContent> {
    const expected: ExpectedContent = { digest: content.digest, size: content.size, crc32: () => fullCrc32 };
    const stored = await this.#completeOrFind(expected);
    if (!this.#completed) await this.discard();
    return stored;
  }

  async #completeOrFind(expected: ExpectedContent): Promise<StoredContent> {
    try {
      return await writeOnce(this.#bucket, expected, () => this.#complete(expected), this.#caller);
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) {
        const winner = await this.#findWinner(expected, isConflict(error) ? WINNER_POLLS : 1);
        if (winner !== undefined) return winner;
      }
      return raise(error, 'complete upload', locate(this.#bucket, this.#digest), this.#caller);
    }
  }

  async #complete(expected: ExpectedContent): Promise<StoredContent> {
    const parts = this.#uploaded.map((part, index) => ({
      PartNumber: index + 1,
      ETag: part?.etag,
      ChecksumCRC32: part?.crc32,
    }));
    const crc = expected.crc32();
    const command = new CompleteMultipartUploadCommand({
      Bucket: this.#bucket.bucket,
      Key: blobObjectKey(this.#digest),
      UploadId: this.uploadId,
      MultipartUpload: { Parts: parts },
      MpuObjectSize: expected.size,
      ChecksumCRC32: crc,
      ChecksumType: 'FULL_OBJECT',
      IfNoneMatch: '*',
    });
    const { ETag: etag = '' } = await this.#bucket.client.send(command, { abortSignal: this.#caller });
    this.#completed = true;
    return { size: expected.size, etag, crc32: crc, domain: this.#domain };
  }

  /**
   * 409: another write of the key is just ending. 404: this upload is gone, perhaps because it was completed
   * and the answer was lost. Either way the object decides.
   */
  async #findWinner(expected: ExpectedContent, polls: number): Promise<StoredContent | undefined> {
    for (let poll = 1; ; poll += 1) {
      const found = await findContent(this.#bucket, this.#digest, this.#caller);
      if (found !== undefined && (await isExpected(this.#bucket, found, expected, this.#caller))) return found;
      if (poll === polls) return undefined;
      await pause(poll, this.#caller);
    }
  }

  /** Stops the parts under way and discards the upload, in a bounded time, even if the caller's signal has fired. */
  async discard(): Promise<void> {
    await this.stop();
    if (this.uploadId !== undefined) await discardUpload(this.#bucket, this.#digest, this.uploadId, this.failed);
  }
}

/**
 * Tries to discard an open upload within {@link ABORT_TIMEOUT_MS}. If parts were `cutOff`, S3 may still store
 * one after the abort (https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html), so the
 * abort is repeated until S3 no longer has the upload.
 *
 * Never throws: the error that ended the ingest must be the one reported. An upload that stays (S3
 * unreachable, a kill, a lost answer) is invisible, and the bucket's lifecycle rule aborts it after seven
 * days.
 */
export async function discardUpload(
  { client, bucket }: S3Bucket,
  digest: Digest,
  uploadId: string,
  cutOff: boolean,
): Promise<void> {
  const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS);
  const upload = { Bucket: bucket, Key: blobObjectKey(digest), UploadId: uploadId };
  for (let tries = 1; ; tries += 1) {
    try {
      await client.send(new AbortMultipartUploadCommand(upload), { abortSignal: signal });
    } catch {
      return; // Gone, or left to the lifecycle rule.
    }
    if (!cutOff || tries === ABORT_TRIES) return;
    await sleep(ABORT_AGAIN_MS * tries);
  }
}
