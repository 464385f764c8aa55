import * as z from 'zod/mini';
import { InvalidRequestError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { decode, array, record, ShapeError, string } from '../oci/schemas.ts';
import { reconcile, type ReconcileDeps } from '../pull/reconcile.ts';
import { digestOfKey } from '../store/keys.ts';

/** A message of a queue. */
export interface Message {
  readonly id: string;
  readonly body: string;
}

/** The result of a batch of messages. */
export interface DeletionsAnswer {
  readonly lost: readonly Digest[];
  /** The reason for each event that changed nothing. */
  readonly ignored: readonly string[];
  /** The errors of failed messages, by their ids. The other messages are done. */
  readonly failed: ReadonlyMap<string, unknown>;
}

/**
 * The messages of a batch from SQS; undefined for any other event: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
 *
 * @throws InvalidRequestError if a message lacks its id or body.
 */
export function messagesOf(event: unknown): readonly Message[] | undefined {
  const { Records: records } = (event ?? {}) as { readonly Records?: unknown };
  if (!Array.isArray(records) || !records.every(isOfSqs)) return undefined;
  return understood('event', 'a batch of SQS has "messageId" and "body" in each of its "Records"', () =>
    decode(sqsBatch, event, 'event').Records.map(({ messageId: id, body }) => ({ id, body })),
  );
}

const sqsBatch = record({ Records: array(record({ messageId: string, body: string })) });

const isOfSqs = (record: unknown): boolean =>
  (record as { readonly eventSource?: unknown } | null)?.eventSource === 'aws:sqs';

/**
 * The content that was deleted from our bucket, or why the event is ignored.
 *
 * @throws InvalidRequestError if it is not S3's event of a deleted object: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
 */
export function parseDeletion(
  ourBucket: string,
  body: string,
): { readonly digest: Digest } | { readonly ignored: string } {
  const { detail } = understood('body', 'expected an event "Object Deleted" of S3', () =>
    decode(objectDeleted, documentIn(body), 'event'),
  );
  const bucket = detail.bucket.name;
  const { key } = detail.object;
  if (bucket !== ourBucket) return { ignored: `${bucket} is not the bucket of this cache` };
  const digest = digestOfKey(key);
  return digest === undefined ? { ignored: `${key} is not content` } : { digest };
}

const objectDeleted = record({
  source: z.literal('aws.s3', 'aws.s3'),
  'detail-type': z.literal('Object Deleted', 'Object Deleted'),
  detail: record({ bucket: record({ name: string }), object: record({ key: string }) }),
});

function documentIn(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    throw new ShapeError('the message', 'JSON');
  }
}

function understood<T>(part: string, expected: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new InvalidRequestError(part, `${error.message}: ${expected}`, error);
  }
}

/**
 * Checks whether the content is really gone; if so, marks it lost, all rows in few transactions, and the next request fetches it again. Events may come late,
 * twice, or for an object that a pull replaced because it was damaged: content that is there is left alone.
 *
 * A malformed message fails alone.
 *
 * @throws CatalogError, StoreError: then all messages must come again.
 */
export async function contentDeleted(
  deps: ReconcileDeps & { readonly bucket: string },
  messages: readonly Message[],
  signal: AbortSignal,
): Promise<DeletionsAnswer> {
  const ignored: string[] = [];
  const failed = new Map<string, unknown>();
  const named = new Set<Digest>();
  for (const { id, body } of messages) {
    try {
      const deletion = parseDeletion(deps.bucket, body);
      if ('ignored' in deletion) ignored.push(deletion.ignored);
      else named.add(deletion.digest);
    } catch (error) {
      failed.set(id, error);
    }
  }
  const digests = [...named];
  const missing = await reconcile(
    deps,
    digests.map((digest) => ({ digest })),
    { adopt: false, signal },
  );
  ignored.push(
    ...digests
      .filter((digest) => !missing.has(digest))
      .map((digest) => `${digest} is in the store, or was not recorded as present`),
  );
  return { lost: [...missing.keys()], ignored, failed };
}
