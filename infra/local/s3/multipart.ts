import { declaredAlgorithm, receiveFile } from './body.ts';
import type { Algorithm, ChecksumType } from './checksums.ts';
import { ALGORITHMS, checksumHeader } from './checksums.ts';
import { S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { integerParameter, isoTime, pageLimit, requireBucket } from './exchange.ts';
import { keyEncoder } from './buckets.ts';
import { checksumElement } from './checksums.ts';
import { keptHeaders } from './object-headers.ts';
import type { NewUpload, Part, Upload } from './upload-rows.ts';
import { branch, leaf, xmlDocument } from './xml.ts';

/** S3's limit of part numbers. */
export const MAX_PARTS = 10_000;

/** CreateMultipartUpload. */
export async function createUpload(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  const { bucket, key } = request;
  const checksum = requestedChecksum(request);
  const upload: NewUpload = { bucket, key, startedMs: Date.now(), headers: keptHeaders(request), checksum };
  const id = await store.database.write(() => store.uploads.add(upload));
  return {
    status: 200,
    headers:
      checksum === undefined
        ? {}
        : { 'x-amz-checksum-algorithm': checksum.algorithm, 'x-amz-checksum-type': checksum.type },
    xml: xmlDocument('InitiateMultipartUploadResult', leaf('Bucket', bucket), leaf('Key', key), leaf('UploadId', id)),
  };
}

/**
 * UploadPart: a later part of the same number replaces the earlier one.
 *
 * If Create named no checksum, a part may have its own; then Complete must name it.
 *
 * The ETag is the first half of the part's SHA-256, not its MD5: that is computed anyway for signed payloads and three times as
 * fast, and S3 itself promises no MD5 for parts.
 */
export async function uploadPart(store: Store, request: S3Request): Promise<Reply> {
  const number = integerParameter(request, 'partNumber', { min: 1, max: MAX_PARTS });
  const named = requireUpload(store, request).checksum?.algorithm;
  const sent = declaredAlgorithm(request);
  const algorithm = named ?? sent;
  if (sent !== undefined && sent !== algorithm) {
    throw new S3Error(
      'InvalidRequest',
      `Checksum Type mismatch occurred, expected checksum Type: ${algorithm?.toLowerCase()}, actual checksum Type: ${sent.toLowerCase()}`,
    );
  }
  await using file = await store.files.create();
  const { size, digests, blocks } = await receiveFile(
    request,
    file,
    algorithm === undefined ? ['SHA256'] : ['SHA256', algorithm],
  );
  const etag = digests.get('SHA256')?.toString('hex', 0, 16) ?? '';
  const checksum = algorithm === undefined ? undefined : digests.get(algorithm)?.toString('base64');
  const part: Part = {
    number,
    file: file.name,
    size,
    blocks,
    etag,
    algorithm: algorithm ?? null,
    checksum: checksum ?? null,
    modifiedMs: Date.now(),
  };
  const unnamed = await store.database.write(() => store.uploads.putPart(requireUpload(store, request), part));
  file.keep();
  await store.files.discard(unnamed);
  return {
    status: 200,
    headers: {
      etag: `"${etag}"`,
      ...(algorithm !== undefined && checksum !== undefined ? { [checksumHeader(algorithm)]: checksum } : {}),
    },
  };
}

/** AbortMultipartUpload: parts still on their way are refused when they arrive. */
export async function abortUpload(store: Store, request: S3Request): Promise<Reply> {
  const unnamed = await store.database.write(() => {
    const upload = requireUpload(store, request);
    const parts = store.uploads.parts(upload, 0, MAX_PARTS);
    store.uploads.remove(upload);
    return parts.map(({ file }) => file);
  });
  await store.files.discard(unnamed);
  return { status: 204 };
}

/** ListParts, in pages. */
export function listParts(store: Store, request: S3Request): Reply {
  const upload = requireUpload(store, request);
  const limit = pageLimit(request, 'max-parts');
  const after = request.query.has('part-number-marker')
    ? integerParameter(request, 'part-number-marker', { min: 0, max: 2 ** 31 - 1 })
    : 0;
  const found = store.uploads.parts(upload, after, limit + 1);
  const parts = found.slice(0, limit);
  return {
    status: 200,
    xml: xmlDocument(
      'ListPartsResult',
      leaf('Bucket', upload.bucket),
      leaf('Key', upload.key),
      leaf('UploadId', upload.id),
      leaf('StorageClass', 'STANDARD'),
      leaf('PartNumberMarker', after),
      leaf('NextPartNumberMarker', parts.at(-1)?.number ?? 0),
      leaf('MaxParts', limit),
      leaf('IsTruncated', limit > 0 && found.length > limit),
      leaf('ChecksumAlgorithm', upload.checksum?.algorithm),
      leaf('ChecksumType', upload.checksum?.type),
      ...parts.map(partXml),
    ),
  };
}

/** ListMultipartUploads, in pages: by key, oldest first within a key. */
export function listUploads(store: Store, request: S3Request): Reply {
  requireBucket(store, request.bucket);
  const { query } = request;
  const encode = keyEncoder(request);
  const prefix = query.get('prefix') ?? '';
  const keyMarker = query.get('key-marker') ?? '';
  const idMarker = keyMarker === '' ? '' : (query.get('upload-id-marker') ?? '');
  const limit = pageLimit(request, 'max-uploads');
  const { uploads, isTruncated } = uploadPage(store, request.bucket, { prefix, keyMarker, idMarker, limit });
  const last = uploads.at(-1);
  return {
    status: 200,
    xml: xmlDocument(
      'ListMultipartUploadsResult',
      leaf('Bucket', request.bucket),
      leaf('KeyMarker', encode(keyMarker)),
      leaf('UploadIdMarker', idMarker),
      leaf('NextKeyMarker', isTruncated && last ? encode(last.key) : undefined),
      leaf('NextUploadIdMarker', isTruncated ? last?.id : undefined),
      leaf('Prefix', encode(prefix)),
      leaf('EncodingType', query.get('encoding-type')),
      leaf('MaxUploads', limit),
      leaf('IsTruncated', isTruncated),
      ...uploads.map((upload) =>
        branch(
          'Upload',
          leaf('Key', encode(upload.key)),
          leaf('UploadId', upload.id),
          leaf('StorageClass', 'STANDARD'),
          leaf('Initiated', isoTime(upload.startedMs)),
          leaf('ChecksumAlgorithm', upload.checksum?.algorithm),
          leaf('ChecksumType', upload.checksum?.type),
        ),
      ),
    ),
  };
}

/** The open upload that the request names. @throws S3Error NoSuchUpload. */
export function requireUpload(store: Store, request: S3Request): Upload {
  requireBucket(store, request.bucket);
  const id = request.query.get('uploadId') ?? '';
  const upload = store.uploads.find(request.bucket, request.key, id);
  if (upload !== undefined) return upload;
  throw new S3Error(
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    { details: { UploadId: id } },
  );
}

function uploadPage(
  store: Store,
  bucket: string,
  listing: { prefix: string; keyMarker: string; idMarker: string; limit: number },
): { uploads: Upload[]; isTruncated: boolean } {
  const { prefix, keyMarker, idMarker, limit } = listing;
  const start = Buffer.compare(Buffer.from(keyMarker), Buffer.from(prefix)) > 0 ? keyMarker : prefix;
  const uploads: Upload[] = [];
  // At the marker's own key: skip up to and including the marker's upload, or all of the key where no upload is named.
  let isBehindMarker = keyMarker === '';
  for (const upload of store.uploads.from(bucket, Buffer.from(start))) {
    if (!upload.key.startsWith(prefix)) break;
    if (!isBehindMarker && upload.key === keyMarker) {
      if (upload.id === idMarker) isBehindMarker = true;
      continue;
    }
    isBehindMarker = true;
    if (uploads.length >= limit) return { uploads, isTruncated: limit > 0 };
    uploads.push(upload);
  }
  return { uploads, isTruncated: false };
}

function requestedChecksum(request: S3Request): { algorithm: Algorithm; type: ChecksumType } | undefined {
  const name = request.headers.get('x-amz-checksum-algorithm')?.toUpperCase();
  const typeName = request.headers.get('x-amz-checksum-type')?.toUpperCase();
  if (name === undefined) {
    if (typeName === undefined) return undefined;
    throw new S3Error(
      'InvalidRequest',
      'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.',
    );
  }
  const algorithm = ALGORITHMS.find((known) => known === name);
  if (algorithm === undefined) {
    throw new S3Error('NotImplemented', `Checksum algorithm ${name} is not implemented; ${ALGORITHMS.join(', ')} are`);
  }
  const type = (['COMPOSITE', 'FULL_OBJECT'] as const).find((known) => known === (typeName ?? 'COMPOSITE'));
  if (type === undefined) throw new S3Error('InvalidRequest', 'Value for x-amz-checksum-type header is invalid.');
  if (type === 'FULL_OBJECT' && !algorithm.startsWith('CRC')) {
    throw new S3Error(
      'InvalidRequest',
      `The FULL_OBJECT checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    );
  }
  return { algorithm, type };
}

function partXml(part: Part): string {
  return branch(
    'Part',
    leaf('PartNumber', part.number),
    leaf('LastModified', isoTime(part.modifiedMs)),
    leaf('ETag', `"${part.etag}"`),
    leaf('Size', part.size),
    part.algorithm === null || part.checksum === null ? '' : leaf(checksumElement(part.algorithm), part.checksum),
  );
}
