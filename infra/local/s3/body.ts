import type { Algorithm, Hasher } from './checksums.ts';
import { ALGORITHMS, checksumHeader, createHasher, isChecksum } from './checksums.ts';
import { ChunkDecoder, badTrailer } from './chunked.ts';
import { S3Error } from './errors.ts';
import type { S3Request } from './exchange.ts';
import type { NewFile, Segment } from './files.ts';

/** A complete body that passed every declared check. */
export interface Received {
  readonly size: number;
  /** For every algorithm asked for, and for the declared one. */
  readonly digests: ReadonlyMap<Algorithm | 'MD5', Buffer>;
  /** The checksum the sender declared, by header or trailer. */
  readonly declared: { readonly algorithm: Algorithm; readonly value: string } | undefined;
}

/** A body in a file. */
export interface ReceivedFile extends Received {
  readonly blocks: Segment['blocks'];
}

/** What the headers declare of the body. */
interface Declaration {
  readonly bytes: number;
  readonly md5: Buffer | undefined;
  readonly algorithm: Algorithm | undefined;
  /** Undefined where it comes in the trailer. */
  readonly value: string | undefined;
}

type Wanted = readonly (Algorithm | 'MD5')[];

/** S3's limit of one PUT or part. */
const MAX_BODY_BYTES = 5 * 1024 ** 3;

/**
 * Streams the body into the file, decodes `aws-chunked`, and verifies everything declared. The file is on disk when it returns.
 *
 * @throws S3Error BadDigest, InvalidDigest, IncompleteBody, EntityTooLarge, MissingContentLength, XAmzContentSHA256Mismatch, …
 */
export async function receiveFile(request: S3Request, file: NewFile, wanted: Wanted): Promise<ReceivedFile> {
  const received = await receive(request, MAX_BODY_BYTES, wanted, (bytes) => file.write(bytes));
  return { ...received, blocks: await file.finish() };
}

/** Reads a small body whole, verified like {@link receiveFile}. */
export async function receiveText(request: S3Request, maxBytes: number): Promise<{ text: string; received: Received }> {
  const pieces: Buffer[] = [];
  const received = await receive(request, maxBytes, [], (bytes) => {
    pieces.push(bytes);
    return undefined;
  });
  return { text: Buffer.concat(pieces).toString(), received };
}

/** The one checksum algorithm that headers and trailer name. @throws S3Error InvalidRequest if several, or one without its value. */
export function declaredAlgorithm(request: S3Request): Algorithm | undefined {
  const trailer = request.headers.get('x-amz-trailer')?.trim().toLowerCase();
  const found = ALGORITHMS.filter(
    (algorithm) => request.headers.has(checksumHeader(algorithm)) || trailer === checksumHeader(algorithm),
  );
  if (trailer !== undefined && !ALGORITHMS.some((algorithm) => trailer === checksumHeader(algorithm))) {
    throw new S3Error('InvalidRequest', 'The value specified in the x-amz-trailer header is not supported');
  }
  if (found.length > 1) {
    throw new S3Error(
      'InvalidRequest',
      'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    );
  }
  const named = request.headers.get('x-amz-sdk-checksum-algorithm')?.toUpperCase();
  if (named !== undefined && named !== found[0]) {
    throw new S3Error(
      'InvalidRequest',
      'x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.',
    );
  }
  return found[0];
}

async function receive(
  request: S3Request,
  maxBytes: number,
  wanted: Wanted,
  take: (bytes: Buffer) => Promise<void> | undefined,
): Promise<Received> {
  const declaration = declarationOf(request);
  if (declaration.bytes > maxBytes) {
    throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
  }
  const hashers = hashersFor(request, declaration, wanted);
  const { payload } = request;
  const chunks = payload.kind === 'chunks' ? new ChunkDecoder(payload.trailer, payload.seal) : undefined;
  let size = 0;
  // An error must not destroy the connection, which the answer still needs.
  for await (const raw of request.incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    for (const bytes of chunks?.push(raw) ?? [raw]) {
      size += bytes.length;
      if (size > declaration.bytes) throw incomplete();
      for (const hasher of hashers.values()) hasher.update(bytes);
      await take(bytes);
    }
  }
  chunks?.end();
  if (size !== declaration.bytes) throw incomplete();
  const digests = new Map([...hashers].map(([name, hasher]) => [name, hasher.digest()]));
  return { size, digests, declared: verify(request, declaration, digests, chunks?.trailers) };
}

function declarationOf(request: S3Request): Declaration {
  const chunked = request.payload.kind === 'chunks';
  const length = request.headers.get(chunked ? 'x-amz-decoded-content-length' : 'content-length') ?? '';
  if (!/^\d{1,15}$/.test(length)) {
    throw new S3Error('MissingContentLength', 'You must provide the Content-Length HTTP header.');
  }
  const contentMd5 = request.headers.get('content-md5');
  const md5 = contentMd5 === undefined ? undefined : Buffer.from(contentMd5, 'base64');
  if (md5 !== undefined && (md5.length !== 16 || md5.toString('base64') !== contentMd5)) {
    throw new S3Error('InvalidDigest', 'The Content-MD5 you specified was invalid.');
  }
  const algorithm = declaredAlgorithm(request);
  const value = algorithm === undefined ? undefined : request.headers.get(checksumHeader(algorithm));
  if (algorithm !== undefined && value !== undefined && !isChecksum(algorithm, value)) {
    throw new S3Error('InvalidRequest', `Value for ${checksumHeader(algorithm)} header is invalid.`);
  }
  const expectsTrailer = request.payload.kind === 'chunks' && request.payload.trailer;
  if (request.headers.has('x-amz-trailer') && !expectsTrailer) throw badTrailer();
  return { bytes: Number(length), md5, algorithm, value };
}

function hashersFor(request: S3Request, declaration: Declaration, wanted: Wanted): Map<Algorithm | 'MD5', Hasher> {
  const names = new Set(wanted);
  if (declaration.md5 !== undefined) names.add('MD5');
  if (declaration.algorithm !== undefined) names.add(declaration.algorithm);
  if (request.payload.kind === 'hashed') names.add('SHA256');
  return new Map([...names].map((name) => [name, createHasher(name)]));
}

function verify(
  request: S3Request,
  declaration: Declaration,
  digests: Received['digests'],
  trailers: ReadonlyMap<string, string> | undefined,
): Received['declared'] {
  const { payload } = request;
  if (payload.kind === 'hashed' && digests.get('SHA256')?.toString('hex') !== payload.sha256) {
    throw new S3Error(
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
  }
  if (declaration.md5 !== undefined && digests.get('MD5')?.equals(declaration.md5) !== true) {
    throw new S3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.');
  }
  const { algorithm } = declaration;
  const unexpected = [...(trailers?.keys() ?? [])].filter(
    (name) => algorithm === undefined || declaration.value !== undefined || name !== checksumHeader(algorithm),
  );
  if (unexpected.length > 0) throw badTrailer();
  if (algorithm === undefined) return undefined;
  const value = declaration.value ?? trailers?.get(checksumHeader(algorithm));
  if (value === undefined) throw badTrailer();
  if (!isChecksum(algorithm, value)) {
    throw new S3Error('InvalidRequest', `Value for ${checksumHeader(algorithm)} trailing header is invalid.`);
  }
  if (digests.get(algorithm)?.toString('base64') !== value) {
    throw new S3Error('BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`);
  }
  return { algorithm, value };
}

function incomplete(): S3Error {
  return new S3Error(
    'IncompleteBody',
    'The request body does not have the number of bytes specified by the Content-Length or x-amz-decoded-content-length header',
  );
}
