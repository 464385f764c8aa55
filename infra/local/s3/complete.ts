import { createHash } from 'node:crypto';
import { receiveText } from './body.ts';
import { ALGORITHMS, checksumElement, checksumHeader, combineCrcs, compositeChecksum } from './checksums.ts';
import { checkWrite } from './conditions.ts';
import { S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { requireBucket } from './exchange.ts';
import { DamageError } from './files.ts';
import { MAX_PARTS, requireUpload } from './multipart.ts';
import type { StoredChecksum } from './object-rows.ts';
import type { Part, Upload } from './upload-rows.ts';
import { dropDamaged } from './whole-object.ts';
import { childText, leaf, malformed, parseXml, xmlDocument } from './xml.ts';

interface NamedPart {
  readonly number: number;
  readonly etag: string;
  /** By XML element name. */
  readonly checksums: ReadonlyMap<string, string>;
}

const MIN_PART_BYTES = 5 * 1024 * 1024;
const MAX_COMPLETE_BYTES = 4 * 1024 * 1024;

/**
 * CompleteMultipartUpload: the object appears whole, in one transaction, or the upload stays open.
 *
 * No bytes move: the object takes over the files of its parts, and a full-object CRC is computed from theirs. A repeated request with the
 * same parts gets the same answer for a day, as S3 does for a while.
 */
export async function completeUpload(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  const { text } = await receiveText({ ...request, headers: headersOfBody(request) }, MAX_COMPLETE_BYTES);
  const named = parseParts(text);
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([request.bucket, request.key, named.map(({ number, etag }) => [number, etag])]))
    .digest('hex');
  const id = request.query.get('uploadId') ?? '';
  const repeated = await store.database.write(() => store.uploads.findAnswer(id, fingerprint));
  if (repeated !== undefined) return { status: 200, xml: repeated };
  await checkFiles(store, requireUpload(store, request), named);
  await dropDamaged(store, request);
  const { unnamed, xml } = await store.database.write(() => commit(store, request, named, fingerprint));
  await store.files.discard(unnamed);
  return { status: 200, xml };
}

/** In this operation the checksum headers describe the object, not the body. */
function headersOfBody(request: S3Request): ReadonlyMap<string, string> {
  return new Map([...request.headers].filter(([name]) => !/^x-amz-(sdk-)?checksum-/.test(name)));
}

function commit(
  store: Store,
  request: S3Request,
  named: readonly NamedPart[],
  fingerprint: string,
): { unnamed: string[]; xml: string } {
  const upload = requireUpload(store, request);
  const { bucket, key } = upload;
  const uploaded = store.uploads.parts(upload, 0, MAX_PARTS);
  const parts = chosenParts(upload, uploaded, named);
  const size = parts.reduce((total, part) => total + part.size, 0);
  checkSize(request, size);
  const checksum = wholeChecksum(upload, parts);
  checkChecksum(request, upload, checksum);
  checkWrite(request, store.objects.find(bucket, key));
  const digest = createHash('md5').update(Buffer.from(parts.map(({ etag }) => etag).join(''), 'hex'));
  const etag = `${digest.digest('hex')}-${parts.length}`;
  const nowMs = Date.now();
  store.uploads.remove(upload);
  const replaced = store.objects.replace(bucket, key, {
    size,
    etag,
    modifiedMs: nowMs,
    headers: upload.headers,
    checksum,
    segments: parts,
  });
  const xml = xmlDocument(
    'CompleteMultipartUploadResult',
    leaf('Location', `/${bucket}/${key}`),
    leaf('Bucket', bucket),
    leaf('Key', key),
    leaf('ETag', `"${etag}"`),
    checksum === undefined ? '' : leaf(checksumElement(checksum.algorithm), checksum.value),
    leaf('ChecksumType', checksum?.type),
  );
  store.uploads.remember(upload, fingerprint, xml, nowMs);
  const used = new Set(parts.map(({ file }) => file));
  return { unnamed: [...replaced, ...uploaded.map(({ file }) => file).filter((file) => !used.has(file))], xml };
}

function parseParts(text: string): NamedPart[] {
  const root = parseXml(text, 'CompleteMultipartUpload');
  const parts = root.children.map((element): NamedPart => {
    const number = childText(element, 'PartNumber') ?? '';
    const etag = childText(element, 'ETag');
    if (element.name !== 'Part' || !/^\d{1,5}$/.test(number) || etag === undefined) throw malformed();
    const checksums = new Map(
      element.children.filter(({ name }) => name.startsWith('Checksum')).map((child) => [child.name, child.text]),
    );
    return { number: Number(number), etag: etag.replaceAll('"', ''), checksums };
  });
  if (parts.length === 0 || parts.length > MAX_PARTS) throw malformed();
  return parts;
}

function chosenParts(upload: Upload, uploaded: readonly Part[], named: readonly NamedPart[]): Part[] {
  if (named.some(({ number }, index) => index > 0 && number <= (named[index - 1]?.number ?? 0))) {
    throw new S3Error('InvalidPartOrder', 'The list of parts was not in ascending order.');
  }
  const byNumber = new Map(uploaded.map((part) => [part.number, part]));
  const chosen = named.map((name) => {
    const part = byNumber.get(name.number);
    if (part?.etag !== name.etag) throw invalidPart(upload, name);
    checkPartChecksum(upload, part, name);
    return part;
  });
  const small = chosen.slice(0, -1).find(({ size }) => size < MIN_PART_BYTES);
  if (small !== undefined) {
    throw new S3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
      details: {
        ETag: small.etag,
        MinSizeAllowed: String(MIN_PART_BYTES),
        PartNumber: String(small.number),
        ProposedSize: String(small.size),
      },
    });
  }
  return chosen;
}

/** A part that is damaged must be uploaded again. */
async function checkFiles(store: Store, upload: Upload, named: readonly NamedPart[]): Promise<void> {
  const parts = chosenParts(upload, store.uploads.parts(upload, 0, MAX_PARTS), named);
  await Promise.all(
    parts.map(async (part) => {
      try {
        await store.files.check([part]);
      } catch (error) {
        throw error instanceof DamageError ? invalidPart(upload, part) : error;
      }
    }),
  );
}

function checkPartChecksum(upload: Upload, part: Part, name: NamedPart): void {
  const { algorithm } = part;
  const element = algorithm === null ? undefined : checksumElement(algorithm);
  const expected = element && name.checksums.get(element);
  const others = [...name.checksums.keys()].filter((other) => other !== element);
  if (others.length > 0) throw invalidPart(upload, name);
  if (expected !== undefined && expected !== part.checksum) throw invalidPart(upload, name);
  // AWS requires this for composite uploads, versitygw for all.
  if (algorithm !== null && expected === undefined) {
    throw new S3Error(
      'InvalidRequest',
      `The upload was created using a ${algorithm.toLowerCase()} checksum. The complete request must include the checksum for each part. It was missing for part ${name.number} in the request.`,
    );
  }
}

function checkSize(request: S3Request, size: number): void {
  const expected = request.headers.get('x-amz-mp-object-size');
  if (expected === undefined || expected === String(size)) return;
  throw new S3Error(
    'InvalidRequest',
    `The provided 'x-amz-mp-object-size' header value ${expected} does not match what was computed: ${size}`,
  );
}

function wholeChecksum(upload: Upload, parts: readonly Part[]): StoredChecksum | undefined {
  if (upload.checksum === undefined) return undefined;
  const { algorithm, type } = upload.checksum;
  const pieces = parts.map(({ checksum, size }) => ({ checksum: checksum ?? '', size }));
  const isCrc = algorithm === 'CRC32' || algorithm === 'CRC32C';
  const value =
    type === 'FULL_OBJECT' && isCrc
      ? combineCrcs(algorithm, pieces)
      : compositeChecksum(
          algorithm,
          pieces.map(({ checksum }) => checksum),
        );
  return { algorithm, value, type };
}

/** Compares what the request declares of the object with its parts. */
function checkChecksum(request: S3Request, upload: Upload, checksum: StoredChecksum | undefined): void {
  const type = request.headers.get('x-amz-checksum-type')?.toUpperCase();
  if (type !== undefined && type !== upload.checksum?.type) {
    throw new S3Error(
      'InvalidRequest',
      `The upload was created using the ${upload.checksum?.type ?? 'null'} checksum mode. The complete request must use the same checksum mode.`,
    );
  }
  for (const algorithm of ALGORITHMS) {
    const expected = request.headers.get(checksumHeader(algorithm));
    if (expected === undefined) continue;
    const isSame =
      checksum?.algorithm === algorithm && expected.replace(/-\d+$/, '') === checksum.value.replace(/-\d+$/, '');
    if (!isSame) {
      throw new S3Error('BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`);
    }
  }
}

function invalidPart(upload: Upload, part: Pick<NamedPart, 'number' | 'etag'>): S3Error {
  return new S3Error(
    'InvalidPart',
    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    { details: { UploadId: upload.id, PartNumber: String(part.number), ETag: part.etag } },
  );
}
