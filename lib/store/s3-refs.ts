import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type GetObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { StoreError } from '../errors/cache-error.ts';
import { digestOf, hexOf } from '../oci/digest.ts';
import { sha256Base64 } from './checksums.ts';
import type { FoundRefRecord, RefRecords } from './content-store.ts';
import { INCARNATION_OBJECT, REFS_PREFIX, refKey } from './keys.ts';
import { isOver, outcomeOver, parseIncarnation, parseRefRecord } from './ref-record.ts';
import { isConflict, isNotFound, isPreconditionFailed, raise, type S3Bucket, withPayloadHash } from './s3-client.ts';

/** At most two processes write one record at the same time: the holder of the lock, and one that lost it. */
const WRITE_TRIES = 5;
/** A thousand digests of a large index take 80 KB. */
const MAX_RECORD_BYTES = 1024 * 1024;

/** The object under the key. */
interface Kept {
  readonly etag: string;
  /** Undefined if it is too long for a record. */
  readonly text: string | undefined;
  readonly size: number | undefined;
}

/** The records as JSON objects beside the content: `refs/<registry>/<repository>/<pointer>.json`. */
export function s3RefRecords(bucket: S3Bucket): RefRecords {
  return {
    async write(reference, entry, signal) {
      let isNewer = true;
      await swap(bucket, refKey(reference), signal, (kept) => {
        const { record, tombstone } = kept === undefined ? {} : parsed(refKey(reference), kept);
        const there = record ?? tombstone;
        const outcome = there === undefined ? 'replaced' : outcomeOver(there, entry, Date.now());
        isNewer = outcome !== 'kept';
        return outcome === 'replaced' ? entry : undefined;
      });
      return isNewer;
    },
    async find(reference, signal) {
      const key = refKey(reference);
      const kept = await read(bucket, key, signal);
      return kept === undefined ? undefined : parsed(key, kept).record;
    },
    async *list(signal) {
      for await (const key of keysOf(bucket, signal)) {
        const kept = await read(bucket, key, signal);
        if (kept !== undefined) yield parsed(key, kept); // Undefined if it was removed since it was listed.
      }
    },
    async forget(key, signal) {
      const kept = await read(bucket, key, signal);
      if (kept === undefined) return;
      const { tombstone } = parsed(key, kept);
      if (tombstone !== undefined && isOver(tombstone, Date.now())) await remove(bucket, key, kept.etag, signal);
    },
    async raiseIncarnation(above, signal) {
      let incarnation = above;
      // First tries without reading: the object exists only if there was another table on this bucket before.
      await swap(bucket, INCARNATION_OBJECT, signal, (kept) => {
        incarnation = Math.max(above, parseIncarnation(kept?.text)) + 1;
        return { incarnation };
      });
      return incarnation;
    },
  };
}

const parsed = (key: string, { text, size }: Kept): FoundRefRecord =>
  text === undefined
    ? { key, problem: `has ${size} bytes, a record has at most ${MAX_RECORD_BYTES}` }
    : parseRefRecord(key, text);

/**
 * Replaces the object by `next(object)`, or leaves it if that is undefined. If the object changed meanwhile,
 * reads it and calls `next` again.
 */
async function swap(
  bucket: S3Bucket,
  key: string,
  signal: AbortSignal,
  next: (kept: Kept | undefined) => object | undefined,
): Promise<void> {
  let kept: Kept | undefined;
  for (let tries = 1; ; tries++) {
    const document = next(kept);
    if (document === undefined || (await put(bucket, key, document, kept?.etag, signal))) return;
    if (tries === WRITE_TRIES) {
      throw new StoreError('write ref record', `s3://${bucket.bucket}/${key} was rewritten ${tries} times meanwhile`);
    }
    kept = await read(bucket, key, signal);
  }
}

/** One conditional PUT: replaces the object with that `etag`, or creates one. False if the object changed. */
async function put(
  bucket: S3Bucket,
  key: string,
  document: object,
  etag: string | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const body = Buffer.from(JSON.stringify(document));
  const digest = digestOf(body);
  const command = new PutObjectCommand({
    Bucket: bucket.bucket,
    Key: key,
    Body: body,
    ContentLength: body.byteLength,
    ContentType: 'application/json',
    ChecksumSHA256: sha256Base64(digest),
    ...(etag === undefined ? { IfNoneMatch: '*' } : { IfMatch: etag }),
  });
  try {
    await bucket.client.send(withPayloadHash(command, hexOf(digest)), { abortSignal: signal });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    // 404: the object of `If-Match` is gone.
    if (isPreconditionFailed(error) || isConflict(error) || (etag !== undefined && isNotFound(error))) return false;
    return raise(error, 'write ref record', `s3://${bucket.bucket}/${key}`, signal);
  }
}

/** Removes the object with that `etag`; an object that was written meanwhile stays. */
async function remove(bucket: S3Bucket, key: string, etag: string, signal: AbortSignal): Promise<void> {
  const command = new DeleteObjectCommand({ Bucket: bucket.bucket, Key: key, IfMatch: etag });
  try {
    await bucket.client.send(command, { abortSignal: signal });
  } catch (error) {
    signal.throwIfAborted();
    if (isNotFound(error) || isPreconditionFailed(error) || isConflict(error)) return;
    raise(error, 'forget ref tombstone', `s3://${bucket.bucket}/${key}`, signal);
  }
}

async function read(bucket: S3Bucket, key: string, signal: AbortSignal): Promise<Kept | undefined> {
  const where = `s3://${bucket.bucket}/${key}`;
  try {
    const answer = await bucket.client.send(new GetObjectCommand({ Bucket: bucket.bucket, Key: key }), {
      abortSignal: signal,
    });
    return { etag: answer.ETag ?? '', text: await textOf(answer), size: answer.ContentLength };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    return raise(error, 'read ref record', where, signal);
  }
}

/** Undefined, without reading it, if it is too long for a record. */
async function textOf({ Body, ContentLength = 0 }: GetObjectCommandOutput): Promise<string | undefined> {
  if (Body === undefined) return '';
  if (ContentLength > MAX_RECORD_BYTES) {
    (Body as { destroy?: () => void }).destroy?.();
    return undefined;
  }
  return await Body.transformToString('utf8');
}

async function* keysOf(bucket: S3Bucket, signal: AbortSignal): AsyncGenerator<string> {
  let from: string | undefined;
  do {
    const command = new ListObjectsV2Command({
      Bucket: bucket.bucket,
      Prefix: REFS_PREFIX,
      ...(from === undefined ? {} : { ContinuationToken: from }),
    });
    const page = await bucket.client
      .send(command, { abortSignal: signal })
      .catch((error: unknown) => raise(error, 'list ref records', `s3://${bucket.bucket}/${REFS_PREFIX}`, signal));
    for (const { Key } of page.Contents ?? []) if (Key !== undefined && Key !== INCARNATION_OBJECT) yield Key;
    from = page.NextContinuationToken;
  } while (from !== undefined);
}
