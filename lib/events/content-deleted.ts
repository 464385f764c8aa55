import { InvalidRequestError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { digestOfKey } from '../store/keys.ts';
import { loseContent, type LoseContentDeps } from '../validate/lose-content.ts';

/** What came of an event that says that an object is gone. */
export type DeletionAnswer = { readonly lost: Digest } | { readonly ignored: string };

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether S3 says that an object was deleted: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
export const isDeletion = (event: unknown): event is Readonly<Record<string, unknown>> =>
  isMap(event) && event.source === 'aws.s3' && event['detail-type'] === 'Object Deleted';

/**
 * Looks whether the content is really gone; if it is, whatever used it is complete no more, and the next request brings it again. The event may come late, twice,
 * or for an object that a pull replaced because it was wrong.
 *
 * @throws InvalidRequestError if the event is not what S3 sends; StoreError, CatalogError.
 */
export async function contentDeleted(
  deps: LoseContentDeps & { readonly bucket: string },
  event: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<DeletionAnswer> {
  const { bucket, object } = isMap(event.detail) ? event.detail : {};
  if (!isMap(bucket) || !isMap(object) || typeof bucket.name !== 'string' || typeof object.key !== 'string') {
    throw new InvalidRequestError('detail', 'an event of S3 has "detail.bucket.name" and "detail.object.key"');
  }
  if (bucket.name !== deps.bucket) return { ignored: `${bucket.name} is not the bucket of this cache` };
  const digest = digestOfKey(object.key);
  if (digest === undefined) return { ignored: 'no content' };
  return (await loseContent(deps, digest, signal)) ? { lost: digest } : { ignored: `${digest} is there, or never was` };
}
