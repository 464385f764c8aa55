import { GetObjectCommand } from '@aws-sdk/client-s3';
import { CacheError, ContentLostError, ContentMismatchError, StoreError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { readVerified } from '../oci/verify.ts';
import type { ContentStore } from './content-store.ts';
import { DEFAULT_RESUMABLE_ABOVE_MS } from './ingest-digest.ts';
import { blobObjectKey } from './keys.ts';
import { DEFAULT_PART_BYTES, DEFAULT_WINDOW_PARTS, planParts } from './parts.ts';
import { isNotFound, raise, type S3Bucket } from './s3-client.ts';
import { findContent, isExpected, locate, putContent } from './s3-content.ts';
import { S3Ingest } from './s3-ingest.ts';
import { discardUpload } from './s3-parts.ts';
import { findResumable } from './s3-resume.ts';

export interface S3StoreOptions extends S3Bucket {
  /**
   * Content up to this size is stored by one PUT, larger content in parts of this size; of more, if there
   * would be over 1,000 parts.
   */
  readonly partBytes?: number;
  /** Parts held in memory by one ingest, the one being filled included. */
  readonly windowParts?: number;
  /** A successor can resume content in parts while its rest would take longer than this. */
  readonly resumableAboveMs?: number;
}

/**
 * Content by digest in an S3 bucket: verified before visible, never overwritten with something else (I1),
 * "absent" on 404 only (I6).
 *
 * An ingest holds at most about `partBytes * windowParts` bytes of content.
 */
export function s3ContentStore(options: S3StoreOptions): ContentStore {
  const {
    partBytes = DEFAULT_PART_BYTES,
    windowParts = DEFAULT_WINDOW_PARTS,
    resumableAboveMs = DEFAULT_RESUMABLE_ABOVE_MS,
    ...bucket
  } = options;
  return {
    find: (digest, signal) => findContent(bucket, digest, signal),
    isContent: (content, found, signal) => isExpected(bucket, found, content, signal),
    read: (content, maxBytes, signal) => readContent(bucket, content, maxBytes, signal),
    put: (content, bytes, domain, signal) => putContent(bucket, content, bytes, domain, signal),
    begin: async (content, domain, signal, resume) => {
      signal.throwIfAborted();
      const plan = planParts(content.size, partBytes, windowParts);
      const begun = { bucket, content, domain, plan, resumableAboveMs, signal };
      if (resume === undefined) return new S3Ingest(begun);
      const resumed = await findResumable(bucket, content, domain, plan, resume, signal);
      if (resumed === undefined) await discardUpload(bucket, content.digest, resume.uploadId, false);
      return new S3Ingest(begun, resumed);
    },
  };
}

async function readContent(
  bucket: S3Bucket,
  content: Descriptor,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const where = locate(bucket, content.digest);
  if (content.size > maxBytes) {
    throw new StoreError(
      'read content',
      `${where} of ${content.size} bytes was to be read into memory, where at most ${maxBytes} are allowed`,
      undefined,
      false,
    );
  }
  // Stops an unwanted body, and its connection.
  const unwanted = new AbortController();
  const abortSignal = AbortSignal.any([signal, unwanted.signal]);
  const command = new GetObjectCommand({ Bucket: bucket.bucket, Key: blobObjectKey(content.digest) });
  try {
    const { Body: body, ContentLength: found } = await bucket.client.send(command, { abortSignal });
    if (body === undefined || found !== content.size) {
      throw new ContentLostError(
        'read content',
        `${where} should have ${content.size} bytes, but has ${found ?? 'an unknown number'}; pull it again to repair it`,
      );
    }
    return await readVerified(body as AsyncIterable<Uint8Array>, content, maxBytes);
  } catch (error) {
    unwanted.abort();
    return raise(lostError(error, where), 'read content', where, signal);
  }
}

/** A ContentLostError if the failed read shows that the content is gone or wrong; else `error` itself. */
function lostError(error: unknown, where: string): unknown {
  if (error instanceof ContentMismatchError) {
    return new ContentLostError(
      'read content',
      `${where} does not have the digest of its key: ${error.message}; pull it again to repair it`,
      error,
    );
  }
  if (error instanceof CacheError || !isNotFound(error)) return error;
  return new ContentLostError('read content', `${where} is gone; pull it again to repair it`, error);
}
