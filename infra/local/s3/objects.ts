import { receiveFile, receiveText } from './body.ts';
import { checkStillMatches, checkWrite, isNotModified, noSuchKey, rangeOf } from './conditions.ts';
import { S3Error } from './errors.ts';
import type { Reply, S3Request, Store } from './exchange.ts';
import { DamageError } from './files.ts';
import { requireBucket } from './exchange.ts';
import { checksumHeaders, keptHeaders, objectHeaders } from './object-headers.ts';
import type { StoredChecksum, StoredObject } from './object-rows.ts';
import { dropDamaged, findWhole, removeDamaged } from './whole-object.ts';
import { branch, childText, leaf, malformed, parseXml, xmlDocument } from './xml.ts';

const MAX_DELETE_KEYS = 1000;
const MAX_DELETE_BYTES = 2 * 1024 * 1024;

/** PutObject: visible only after every declared checksum and the precondition were checked. */
export async function putObject(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  const headers = keptHeaders(request);
  await using file = await store.files.create();
  const { size, digests, declared, blocks } = await receiveFile(request, file, ['MD5']);
  const etag = digests.get('MD5')?.toString('hex') ?? '';
  const checksum: StoredChecksum | undefined = declared && { ...declared, type: 'FULL_OBJECT' };
  await dropDamaged(store, request);
  const unnamed = await store.database.write(() => {
    checkWrite(request, store.objects.find(request.bucket, request.key));
    return store.objects.replace(request.bucket, request.key, {
      size,
      etag,
      modifiedMs: Date.now(),
      headers,
      checksum,
      segments: [{ file: file.name, size, blocks }],
    });
  });
  file.keep();
  await store.files.discard(unnamed);
  return { status: 200, headers: { etag: `"${etag}"`, ...checksumHeaders(checksum) } };
}

/** GetObject and HeadObject. An object stays readable while it is deleted or overwritten. Damaged bytes are never sent. */
export async function getObject(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  await using held = new AsyncDisposableStack();
  const whole = held.use(await findWhole(store, request.bucket, request.key));
  if (whole === undefined) throw noSuchKey(request.key);
  const { object } = whole;
  if (isNotModified(request, object)) {
    const { etag = '', 'last-modified': modified = '' } = objectHeaders(request, object, false);
    return { status: 304, headers: { etag, 'last-modified': modified } };
  }
  const range = rangeOf(request, object);
  const { start, end } = range ?? { start: 0, end: object.size };
  const headers: Record<string, string> = {
    ...objectHeaders(request, object, range === undefined),
    'content-length': String(end - start),
    ...(range && { 'content-range': `bytes ${start}-${end - 1}/${object.size}` }),
  };
  const status = range === undefined ? 200 : 206;
  if (request.incoming.method === 'HEAD') return { status, headers };
  const content = await begun(unlessDamaged(store, request, object, whole.read(start, end)));
  const reading = held.move();
  return { status, headers, content, release: () => reading.disposeAsync() };
}

/** The same with its first bytes read already, so that damage in them is found before the answer begins. */
async function begun(bytes: AsyncGenerator<Buffer>): Promise<AsyncIterable<Buffer>> {
  const first = await bytes.next();
  return (async function* () {
    if (first.done !== true) yield first.value;
    yield* bytes;
  })();
}

/** @throws S3Error NoSuchKey in place of the first damaged bytes, after removing the object. */
async function* unlessDamaged(
  store: Store,
  { bucket, key }: S3Request,
  object: StoredObject,
  bytes: AsyncIterable<Buffer> | Iterable<Buffer>,
): AsyncGenerator<Buffer> {
  try {
    yield* bytes;
  } catch (error) {
    if (!(error instanceof DamageError)) throw error;
    await removeDamaged(store, bucket, object, error);
    throw noSuchKey(key);
  }
}

/** DeleteObject: idempotent without `If-Match`. */
export async function deleteObject(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  if (request.headers.has('if-none-match')) {
    throw new S3Error('NotImplemented', 'If-None-Match is not implemented for deletes');
  }
  await removeIf(store, request.bucket, request.key, request.headers.get('if-match'));
  return { status: 204 };
}

/** DeleteObjects: each key on its own. */
export async function deleteObjects(store: Store, request: S3Request): Promise<Reply> {
  requireBucket(store, request.bucket);
  const { text, received } = await receiveText(request, MAX_DELETE_BYTES);
  if (received.declared === undefined && !request.headers.has('content-md5')) {
    throw new S3Error('InvalidRequest', 'Missing required header for this request: Content-MD5');
  }
  const root = parseXml(text, 'Delete');
  const wanted = root.children.filter(({ name }) => name === 'Object');
  if (wanted.length === 0 || wanted.length > MAX_DELETE_KEYS) throw malformed();
  if (wanted.some(({ children }) => children.some(({ name }) => name !== 'Key' && name !== 'ETag'))) {
    throw new S3Error('NotImplemented', 'Of an object to delete only Key and ETag are implemented');
  }
  const isQuiet = childText(root, 'Quiet') === 'true';
  const results: string[] = [];
  for (const element of wanted) {
    const key = childText(element, 'Key');
    if (key === undefined || key === '') throw malformed();
    try {
      await removeIf(store, request.bucket, key, childText(element, 'ETag'));
      if (!isQuiet) results.push(branch('Deleted', leaf('Key', key)));
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      results.push(branch('Error', leaf('Key', key), leaf('Code', error.code), leaf('Message', error.message)));
    }
  }
  return { status: 200, xml: xmlDocument('DeleteResult', ...results) };
}

async function removeIf(store: Store, bucket: string, key: string, ifMatch: string | undefined): Promise<void> {
  const { wasThere, unnamed } = await store.database.write(() => {
    const object = store.objects.find(bucket, key);
    checkStillMatches(ifMatch, object, key);
    return { wasThere: object !== undefined, unnamed: store.objects.remove(bucket, key) };
  });
  if (wasThere) store.deleted(bucket, key);
  await store.files.discard(unnamed);
}
