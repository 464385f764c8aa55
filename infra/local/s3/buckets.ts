import { receiveText } from './body.ts';
import { S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { integerParameter, isoTime, pageLimit, requireBucket } from './exchange.ts';
import type { StoredObject } from './object-rows.ts';
import { encodeStrictly } from './target.ts';
import { branch, childText, leaf, parseXml, xmlDocument } from './xml.ts';

const MAX_CONFIGURATION_BYTES = 64 * 1024;
const OWNER = branch('Owner', leaf('ID', 'entrepot-local'), leaf('DisplayName', 'entrepot-local'));

/** CreateBucket, in the one region of the endpoint. */
export async function createBucket(store: Store, request: S3Request): Promise<Reply> {
  const name = request.bucket;
  if (!/^(?!xn--|\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) || name.includes('..')) {
    throw new S3Error('InvalidBucketName', 'The specified bucket is not valid.', { details: { BucketName: name } });
  }
  const hasBody = (request.headers.get('content-length') ?? '0') !== '0' || request.payload.kind === 'chunks';
  if (hasBody) {
    const { text } = await receiveText(request, MAX_CONFIGURATION_BYTES);
    const configuration = parseXml(text, 'CreateBucketConfiguration');
    const region = childText(configuration, 'LocationConstraint') ?? store.account.region;
    if (
      region !== store.account.region ||
      configuration.children.some((child) => child.name !== 'LocationConstraint')
    ) {
      throw new S3Error('NotImplemented', `Only LocationConstraint ${store.account.region} is implemented`);
    }
  }
  if (!(await store.database.write(() => store.objects.addBucket(name, Date.now())))) {
    throw new S3Error(
      'BucketAlreadyOwnedByYou',
      'Your previous request to create the named bucket succeeded and you already own it.',
      { details: { BucketName: name } },
    );
  }
  return { status: 200, headers: { location: `/${name}` } };
}

/** HeadBucket. */
export function headBucket(store: Store, request: S3Request): Reply {
  requireBucket(store, request.bucket);
  return { status: 200, headers: { 'x-amz-bucket-region': store.account.region } };
}

/** ListBuckets, all at once. */
export function listBuckets(store: Store): Reply {
  const buckets = store.objects
    .buckets()
    .map(({ name, createdMs }) => branch('Bucket', leaf('Name', name), leaf('CreationDate', isoTime(createdMs))));
  return { status: 200, xml: xmlDocument('ListAllMyBucketsResult', OWNER, branch('Buckets', ...buckets)) };
}

/** ListObjectsV2: in the order of the keys' bytes. A continuation token is where the next page begins. */
export function listObjects(store: Store, request: S3Request): Reply {
  requireBucket(store, request.bucket);
  const { query } = request;
  if (query.has('list-type')) integerParameter(request, 'list-type', { min: 2, max: 2 });
  const encode = keyEncoder(request);
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const startAfter = query.get('start-after');
  const token = query.get('continuation-token');
  const limit = pageLimit(request, 'max-keys');
  const page = pageOf(store, request.bucket, { prefix, delimiter, start: startOf(token, startAfter), limit });
  return {
    status: 200,
    xml: xmlDocument(
      'ListBucketResult',
      leaf('Name', request.bucket),
      leaf('Prefix', encode(prefix)),
      leaf('Delimiter', delimiter === '' ? undefined : encode(delimiter)),
      leaf('MaxKeys', limit),
      leaf('KeyCount', page.objects.length + page.prefixes.length),
      leaf('IsTruncated', page.next !== undefined),
      leaf('EncodingType', query.get('encoding-type')),
      leaf('StartAfter', startAfter === undefined ? undefined : encode(startAfter)),
      leaf('ContinuationToken', token),
      leaf('NextContinuationToken', page.next?.toString('base64url')),
      ...page.objects.map((object) => contentsOf(object, encode, query.get('fetch-owner') === 'true')),
      ...page.prefixes.map((common) => branch('CommonPrefixes', leaf('Prefix', encode(common)))),
    ),
  };
}

/** How keys are spelled in a listing. @throws S3Error InvalidArgument. */
export function keyEncoder(request: S3Request): (key: string) => string {
  const type = request.query.get('encoding-type');
  if (type === undefined) return (key) => key;
  if (type !== 'url') throw new S3Error('InvalidArgument', 'Invalid Encoding Method specified in Request');
  return (key) => encodeStrictly(key).replaceAll('%2F', '/');
}

interface Page {
  readonly objects: StoredObject[];
  readonly prefixes: string[];
  /** Where the next page begins, if there is one. */
  readonly next: Buffer | undefined;
}

interface Listing {
  readonly prefix: string;
  readonly delimiter: string;
  readonly start: Buffer;
  readonly limit: number;
}

function pageOf(store: Store, bucket: string, listing: Listing): Page {
  const prefix = Buffer.from(listing.prefix);
  const objects: StoredObject[] = [];
  const prefixes: string[] = [];
  let at: Buffer | undefined = Buffer.compare(listing.start, prefix) > 0 ? listing.start : prefix;
  const isFull = (): boolean => objects.length + prefixes.length >= listing.limit;
  // One query per common prefix: the keys inside it are skipped.
  while (at !== undefined) {
    const from: Buffer = at;
    at = undefined;
    for (const { keyBytes, object } of store.objects.from(bucket, from)) {
      if (!keyBytes.subarray(0, prefix.length).equals(prefix)) break;
      const cut = listing.delimiter === '' ? -1 : keyBytes.indexOf(listing.delimiter, prefix.length);
      const common = cut === -1 ? undefined : keyBytes.subarray(0, cut + Buffer.byteLength(listing.delimiter));
      if (isFull()) return { objects, prefixes, next: listing.limit === 0 ? undefined : (common ?? keyBytes) };
      if (common === undefined) objects.push(object);
      else {
        prefixes.push(common.toString());
        at = successorOfPrefix(common);
        break;
      }
    }
  }
  return { objects, prefixes, next: undefined };
}

/** The first byte string after all that begin with the prefix. UTF-8 has no byte 0xff, so the last byte can grow. */
function successorOfPrefix(prefix: Buffer): Buffer {
  const successor = Buffer.from(prefix);
  successor.writeUInt8(successor.readUInt8(successor.length - 1) + 1, successor.length - 1);
  return successor;
}

function startOf(token: string | undefined, startAfter: string | undefined): Buffer {
  if (token === undefined) return startAfter === undefined ? Buffer.alloc(0) : Buffer.from(`${startAfter}\0`);
  const start = Buffer.from(token, 'base64url');
  if (token !== '' && start.toString('base64url') === token) return start;
  throw new S3Error('InvalidArgument', 'The continuation token provided is incorrect');
}

function contentsOf(object: StoredObject, encode: (key: string) => string, withOwner: boolean): string {
  return branch(
    'Contents',
    leaf('Key', encode(object.key)),
    leaf('LastModified', isoTime(object.modifiedMs)),
    leaf('ETag', `"${object.etag}"`),
    leaf('ChecksumAlgorithm', object.checksum?.algorithm),
    leaf('ChecksumType', object.checksum?.type),
    leaf('Size', object.size),
    leaf('StorageClass', 'STANDARD'),
    withOwner ? OWNER : '',
  );
}
