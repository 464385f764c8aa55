import type { IncomingMessage } from 'node:http';
import type { Database } from './database.ts';
import { S3Error } from './errors.ts';
import type { Files } from './files.ts';
import type { ObjectRows } from './object-rows.ts';
import type { Account, Payload } from './signature.ts';
import type { UploadRows } from './upload-rows.ts';

/** The dependencies of the operations. */
export interface Store {
  readonly database: Database;
  readonly objects: ObjectRows;
  readonly uploads: UploadRows;
  readonly files: Files;
  readonly account: Account;
  /** Called after an object was deleted by a client or removed as damaged. */
  readonly deleted: (bucket: string, key: string) => void;
}

/** An authenticated request. */
export interface S3Request {
  readonly incoming: IncomingMessage;
  readonly payload: Payload;
  /** Empty where the route has none. */
  readonly bucket: string;
  /** Empty where the route has none. */
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  /** Lower-case names, with those in the query of a presigned URL, as in S3. */
  readonly headers: ReadonlyMap<string, string>;
}

/** An answer; at most one of `xml` and `content`. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly xml?: string;
  readonly content?: AsyncIterable<Buffer>;
  /** Runs after the answer, sent or not. */
  readonly release?: () => Promise<void>;
}

/** @throws S3Error NoSuchBucket. */
export function requireBucket(store: Store, bucket: string): void {
  if (!store.objects.hasBucket(bucket)) {
    throw new S3Error('NoSuchBucket', 'The specified bucket does not exist', { details: { BucketName: bucket } });
  }
}

/** A query parameter that is a whole number. @throws S3Error InvalidArgument. */
export function integerParameter(request: S3Request, name: string, range: { min: number; max: number }): number {
  const text = request.query.get(name) ?? '';
  const value = Number(text);
  if (/^\d{1,10}$/.test(text) && value >= range.min && value <= range.max) return value;
  throw new S3Error('InvalidArgument', `Argument ${name} must be an integer between ${range.min} and ${range.max}`, {
    details: { ArgumentName: name, ArgumentValue: text },
  });
}

/** The page size of a listing: at most 1,000 whatever is asked, as in S3. */
export function pageLimit(request: S3Request, name: string): number {
  return request.query.has(name) ? Math.min(integerParameter(request, name, { min: 0, max: 2 ** 31 - 1 }), 1000) : 1000;
}

/** S3's spelling of times in XML. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
