import { InvalidRequestError } from '../errors/cache-error.ts';
import { JsonShapeError, jsonValue } from '../fill/json.ts';
import type { Digest } from '../oci/digest.ts';
import { digestOfKey } from '../store/keys.ts';
import { reconcile, type ReconcileDeps } from '../pull/reconcile.ts';

/** What came of an event that says that an object is gone. */
export type DeletionAnswer = { readonly lost: Digest } | { readonly ignored: string };

/** Whether S3 says that an object was deleted: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
export function isDeletion(event: unknown): boolean {
  const { source, 'detail-type': type } = (event ?? {}) as Readonly<Record<string, unknown>>;
  return source === 'aws.s3' && type === 'Object Deleted';
}

/**
 * Looks whether the content is really gone; if it is, its row says so, and the next request brings it again. The event may come late, twice,
 * or for an object that a pull replaced because it was wrong.
 *
 * @throws InvalidRequestError if the event is not what S3 sends; StoreError, CatalogError.
 */
export async function contentDeleted(
  deps: ReconcileDeps & { readonly bucket: string },
  event: unknown,
  signal: AbortSignal,
): Promise<DeletionAnswer> {
  const { bucket, key } = deletedObject(event);
  if (bucket !== deps.bucket) return { ignored: `${bucket} is not the bucket of this cache` };
  const digest = digestOfKey(key);
  if (digest === undefined) return { ignored: 'no content' };
  const missing = await reconcile(deps, [{ digest }], { adopt: false, signal });
  return missing.has(digest) ? { lost: digest } : { ignored: `${digest} is there` };
}

function deletedObject(event: unknown): { readonly bucket: string; readonly key: string } {
  try {
    const detail = jsonValue(event, 'event').get('detail');
    return { bucket: detail.get('bucket').get('name').text(), key: detail.get('object').get('key').text() };
  } catch (error) {
    if (!(error instanceof JsonShapeError)) throw error;
    throw new InvalidRequestError('detail', `${error.message}: an event of S3 names its bucket and object`, error);
  }
}
