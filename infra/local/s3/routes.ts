import { createBucket, headBucket, listBuckets, listObjects } from './buckets.ts';
import { ALGORITHMS, checksumHeader } from './checksums.ts';
import { completeUpload } from './complete.ts';
import { S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { abortUpload, createUpload, listParts, listUploads, uploadPart } from './multipart.ts';
import { OVERRIDE_PARAMETERS } from './object-headers.ts';
import { deleteObject, deleteObjects, getObject, putObject } from './objects.ts';

interface Route {
  readonly method: string;
  readonly level: 'service' | 'bucket' | 'object';
  /** Required query parameters: they choose the operation. */
  readonly needs?: readonly string[];
  /** Optional query parameters. */
  readonly takes?: readonly string[];
  readonly run: (store: Store, request: S3Request) => Promise<Reply> | Reply;
}

const LIST_TAKES = [
  'prefix',
  'delimiter',
  'max-keys',
  'continuation-token',
  'start-after',
  'encoding-type',
  'fetch-owner',
];
const UPLOADS_TAKES = ['prefix', 'key-marker', 'upload-id-marker', 'max-uploads', 'encoding-type'];

/** The supported operations. Anything else, unknown query parameters included, is 501. */
const ROUTES: readonly Route[] = [
  { method: 'GET', level: 'service', run: listBuckets },
  { method: 'PUT', level: 'bucket', run: createBucket },
  { method: 'HEAD', level: 'bucket', run: headBucket },
  { method: 'GET', level: 'bucket', needs: ['list-type'], takes: LIST_TAKES, run: listObjects },
  { method: 'GET', level: 'bucket', needs: ['uploads'], takes: UPLOADS_TAKES, run: listUploads },
  { method: 'POST', level: 'bucket', needs: ['delete'], run: deleteObjects },
  { method: 'PUT', level: 'object', run: putObject },
  { method: 'GET', level: 'object', takes: OVERRIDE_PARAMETERS, run: getObject },
  { method: 'HEAD', level: 'object', takes: OVERRIDE_PARAMETERS, run: getObject },
  { method: 'DELETE', level: 'object', run: deleteObject },
  { method: 'POST', level: 'object', needs: ['uploads'], run: createUpload },
  { method: 'PUT', level: 'object', needs: ['uploadId', 'partNumber'], run: uploadPart },
  { method: 'GET', level: 'object', needs: ['uploadId'], takes: ['max-parts', 'part-number-marker'], run: listParts },
  { method: 'POST', level: 'object', needs: ['uploadId'], run: completeUpload },
  { method: 'DELETE', level: 'object', needs: ['uploadId'], run: abortUpload },
];

/** The supported `x-amz-*` headers. Others are refused, not ignored: they could mean anything. */
const KNOWN_HEADERS = new Set([
  'x-amz-date',
  'x-amz-content-sha256',
  'x-amz-decoded-content-length',
  'x-amz-trailer',
  'x-amz-sdk-checksum-algorithm',
  'x-amz-checksum-algorithm',
  'x-amz-checksum-mode',
  'x-amz-checksum-type',
  'x-amz-mp-object-size',
  'x-amz-storage-class',
  'x-amz-user-agent',
  ...ALGORITHMS.map(checksumHeader),
]);

/** Runs the operation that the request asks for. @throws S3Error NotImplemented, and what the operation throws. */
export async function route(store: Store, request: S3Request): Promise<Reply> {
  for (const name of request.headers.keys()) {
    if (name.startsWith('x-amz-') && !name.startsWith('x-amz-meta-') && !KNOWN_HEADERS.has(name)) {
      throw new S3Error('NotImplemented', 'A header you provided implies functionality that is not implemented', {
        details: { Header: name },
      });
    }
  }
  const level = request.bucket === '' ? 'service' : request.key === '' ? 'bucket' : 'object';
  const parameters = [...request.query.keys()].filter((name) => name !== 'x-id' && !/^x-amz-/i.test(name));
  const found = ROUTES.find(
    ({ method, level: at, needs = [], takes = [] }) =>
      method === request.incoming.method &&
      at === level &&
      needs.every((name) => request.query.has(name)) &&
      parameters.every((name) => needs.includes(name) || takes.includes(name)),
  );
  if (found !== undefined) return await found.run(store, request);
  throw new S3Error(
    'NotImplemented',
    'This operation of S3, or a parameter of it, is not implemented by this endpoint',
    {
      details: { Method: request.incoming.method ?? '', Parameters: parameters.join(' ') },
    },
  );
}
