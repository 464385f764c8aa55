import { S3Error } from './errors.ts';
import type { S3Request } from './exchange.ts';
import type { StoredObject } from './object-rows.ts';

/**
 * Checks `If-Match` and `If-None-Match` of a write: call it inside the change that writes.
 *
 * @throws S3Error PreconditionFailed, NoSuchKey, NotImplemented.
 */
export function checkWrite(request: S3Request, current: StoredObject | undefined): void {
  const ifNoneMatch = request.headers.get('if-none-match');
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch !== '*') {
      throw new S3Error('NotImplemented', 'If-None-Match on a write takes only *, any other value is not implemented');
    }
    if (current !== undefined) throw failed('If-None-Match');
  }
  checkStillMatches(request.headers.get('if-match'), current, request.key);
}

/** Checks the ETag that a conditional overwrite or delete expects. @throws S3Error PreconditionFailed, NoSuchKey. */
export function checkStillMatches(ifMatch: string | undefined, current: StoredObject | undefined, key: string): void {
  if (ifMatch === undefined) return;
  if (current === undefined) throw noSuchKey(key);
  if (!isListed(ifMatch, current.etag)) throw failed('If-Match');
}

/**
 * Checks the conditions of a read in the order of RFC 9110; true means 304.
 *
 * @throws S3Error PreconditionFailed.
 */
export function isNotModified(request: S3Request, object: StoredObject): boolean {
  const modifiedSeconds = Math.floor(object.modifiedMs / 1000);
  const ifMatch = request.headers.get('if-match');
  const ifUnmodifiedSince = secondsOf(request.headers.get('if-unmodified-since'));
  if (ifMatch !== undefined) {
    if (!isListed(ifMatch, object.etag)) throw failed('If-Match');
  } else if (ifUnmodifiedSince !== undefined && modifiedSeconds > ifUnmodifiedSince) {
    throw failed('If-Unmodified-Since');
  }
  const ifNoneMatch = request.headers.get('if-none-match');
  if (ifNoneMatch !== undefined) return isListed(ifNoneMatch, object.etag);
  const ifModifiedSince = secondsOf(request.headers.get('if-modified-since'));
  return ifModifiedSince !== undefined && modifiedSeconds <= ifModifiedSince;
}

/**
 * The bytes that `Range` asks for, `end` exclusive; undefined means all of them, as for several ranges or one not understood.
 *
 * @throws S3Error InvalidRange.
 */
export function rangeOf(request: S3Request, object: StoredObject): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get('range')?.trim() ?? '');
  const ifRange = request.headers.get('if-range');
  if (match === null || (ifRange !== undefined && ifRange !== `"${object.etag}"`)) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  const start = first === '' ? Math.max(object.size - Number(last), 0) : Number(first);
  const end = first === '' || last === '' ? object.size : Math.min(Number(last) + 1, object.size);
  if (first !== '' && last !== '' && Number(last) < start) return undefined;
  if (start >= object.size || (first === '' && Number(last) === 0)) {
    throw new S3Error('InvalidRange', 'The requested range is not satisfiable', {
      details: { RangeRequested: match[0], ActualObjectSize: String(object.size) },
      headers: { 'content-range': `bytes */${object.size}` },
    });
  }
  return { start, end };
}

/** S3's error for a missing key. */
export function noSuchKey(key: string): S3Error {
  return new S3Error('NoSuchKey', 'The specified key does not exist.', { details: { Key: key } });
}

function isListed(etags: string, etag: string): boolean {
  return etags
    .split(',')
    .map((listed) => listed.trim().replace(/^"(.*)"$/, '$1'))
    .some((listed) => listed === '*' || listed === etag);
}

function secondsOf(date: string | undefined): number | undefined {
  const ms = Date.parse(date ?? '');
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

function failed(condition: string): S3Error {
  return new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
    details: { Condition: condition },
  });
}
