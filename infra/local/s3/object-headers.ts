import { checksumHeader } from './checksums.ts';
import { S3Error } from './errors.ts';
import type { S3Request } from './exchange.ts';
import type { StoredChecksum, StoredObject } from './object-rows.ts';

const KEPT = ['cache-control', 'content-disposition', 'content-language', 'expires'];
const OVERRIDES = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-type',
  'expires',
];
const MAX_METADATA_BYTES = 2048;

/** The query parameters of a GET that replace response headers. */
export const OVERRIDE_PARAMETERS = OVERRIDES.map((name) => `response-${name}`);

/** The headers of a PUT or CreateMultipartUpload that the object keeps. @throws S3Error MetadataTooLarge, NotImplemented. */
export function keptHeaders(request: S3Request): Record<string, string> {
  if ((request.headers.get('x-amz-storage-class') ?? 'STANDARD') !== 'STANDARD') {
    throw new S3Error('NotImplemented', 'Storage classes other than STANDARD are not implemented');
  }
  const kept: Record<string, string> = {
    'content-type': request.headers.get('content-type') ?? 'binary/octet-stream',
  };
  const encodings = (request.headers.get('content-encoding') ?? '')
    .split(',')
    .map((encoding) => encoding.trim())
    .filter((encoding) => encoding !== '' && encoding !== 'aws-chunked');
  if (encodings.length > 0) kept['content-encoding'] = encodings.join(',');
  let metadataBytes = 0;
  for (const [name, value] of request.headers) {
    const isMetadata = name.startsWith('x-amz-meta-');
    if (isMetadata) metadataBytes += name.length - 'x-amz-meta-'.length + value.length;
    if (isMetadata || KEPT.includes(name)) kept[name] = value;
  }
  if (metadataBytes > MAX_METADATA_BYTES) {
    throw new S3Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size');
  }
  return kept;
}

/** The headers of GET and HEAD. With a checksum if it is asked for and the answer is the whole object. */
export function objectHeaders(request: S3Request, object: StoredObject, isWhole: boolean): Record<string, string> {
  const overrides = OVERRIDES.flatMap((name) => {
    const value = request.query.get(`response-${name}`);
    return value === undefined ? [] : [[name, value] as const];
  });
  if (overrides.some(([, value]) => /[^\t\x20-\x7e\x80-\xff]/.test(value))) {
    throw new S3Error('InvalidArgument', 'Header value cannot be represented using ISO-8859-1.');
  }
  return {
    ...object.headers,
    ...Object.fromEntries(overrides),
    ...(isWhole && request.headers.get('x-amz-checksum-mode') === 'ENABLED' ? checksumHeaders(object.checksum) : {}),
    'accept-ranges': 'bytes',
    etag: `"${object.etag}"`,
    'last-modified': new Date(object.modifiedMs).toUTCString(),
  };
}

/** The headers that carry a checksum and its type. */
export function checksumHeaders(checksum: StoredChecksum | undefined): Record<string, string> {
  if (checksum === undefined) return {};
  return { [checksumHeader(checksum.algorithm)]: checksum.value, 'x-amz-checksum-type': checksum.type };
}
