import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type GetObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { StoreError } from '../errors/cache-error.ts';
import { digestOf, hexOf } from '../oci/digest.ts';
import { sha256Base64 } from './checksums.ts';
import type { FoundRefRecord, RefRecord, RefRecords } from './content-store.ts';
import { REFS_PREFIX, refKey } from './keys.ts';
import { parseRefRecord } from './ref-record.ts';
import { withPayloadHash, type S3Bucket } from './s3-client.ts';
import { isConflict, isNotFound, isPreconditionFailed, raise } from './s3-errors.ts';

/** Writers of one record at the same moment are two at most: the holder of the lock, and one that lost it. */
const WRITE_TRIES = 5;
/** A thousand digests of a large index take 80 KB. */
const MAX_RECORD_BYTES = 1024 * 1024;

/** What is under the key: its ETag, and its record where it is one. */
interface Kept {
  readonly etag: string;
  readonly found: FoundRefRecord;
}

/** The records as JSON objects beside the content: `refs/<registry>/<repository>/<pointer>.json`. */
export function s3RefRecords(bucket: S3Bucket): RefRecords {
  return {
    async write(reference, record, signal) {
      const key = refKey(reference);
      let kept: Kept | undefined;
      for (let tries = 1; ; tries++) {
        // A holder that lost its lock after publishing may come late: what was published after it stands. Generations would not tell where the table is
        // a new one beside an old bucket; clocks that differ by less than a lease do.
        if ((kept?.found.record?.publishedMs ?? 0) > record.publishedMs) return;
        if (await put(bucket, key, record, kept?.etag, signal)) return;
        if (tries === WRITE_TRIES) {
          throw new StoreError(
            'write ref record',
            `s3://${bucket.bucket}/${key} was rewritten ${tries} times meanwhile`,
          );
        }
        kept = await read(bucket, key, signal);
      }
    },
    async find(reference, signal) {
      return (await read(bucket, refKey(reference), signal))?.found.record;
    },
    remove: (reference, signal) => remove(bucket, refKey(reference), signal),
    async *list(signal) {
      for await (const key of keysOf(bucket, signal)) {
        const kept = await read(bucket, key, signal);
        if (kept !== undefined) yield kept.found; // Removed since it was listed.
      }
    },
  };
}

/** One conditional PUT: over what `etag` names, or where nothing is. False if that is not so any more. */
async function put(
  bucket: S3Bucket,
  key: string,
  record: RefRecord,
  etag: string | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const body = Buffer.from(JSON.stringify(record));
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
    // 404: what `If-Match` names is gone.
    if (isPreconditionFailed(error) || isConflict(error) || (etag !== undefined && isNotFound(error))) return false;
    return raise(error, 'write ref record', `s3://${bucket.bucket}/${key}`, signal);
  }
}

/** Only what was seen goes: a removal that arrives late must not take what was published after it. */
async function remove(bucket: S3Bucket, key: string, signal: AbortSignal): Promise<void> {
  const object = { Bucket: bucket.bucket, Key: key };
  try {
    const { ETag: etag } = await bucket.client.send(new HeadObjectCommand(object), { abortSignal: signal });
    await bucket.client.send(new DeleteObjectCommand({ ...object, IfMatch: etag }), { abortSignal: signal });
  } catch (error) {
    if (isNotFound(error)) return;
    raise(error, 'remove ref record', `s3://${bucket.bucket}/${key}`, signal);
  }
}

async function read(bucket: S3Bucket, key: string, signal: AbortSignal): Promise<Kept | undefined> {
  const where = `s3://${bucket.bucket}/${key}`;
  try {
    const answer = await bucket.client.send(new GetObjectCommand({ Bucket: bucket.bucket, Key: key }), {
      abortSignal: signal,
    });
    const text = await textOf(answer);
    const found =
      text === undefined
        ? { key, problem: `has ${answer.ContentLength} bytes, a record has at most ${MAX_RECORD_BYTES}` }
        : parseRefRecord(key, text);
    return { etag: answer.ETag ?? '', found };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    return raise(error, 'read ref record', where, signal);
  }
}

/** Undefined, and unread, where it is too long for a record. */
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
    for (const { Key } of page.Contents ?? []) if (Key !== undefined) yield Key;
    from = page.NextContinuationToken;
  } while (from !== undefined);
}
