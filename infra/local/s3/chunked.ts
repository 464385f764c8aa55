import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { S3Error } from './errors.ts';
import type { ChunkSeal } from './signature.ts';

/** S3's minimum of every chunk but the last. */
const MIN_CHUNK_BYTES = 8192;
const MAX_LINE_BYTES = 4096;
const MAX_TRAILERS = 16;
const SIZE_LINE = /^([0-9a-fA-F]{1,10})(?:;chunk-signature=([0-9a-f]{64}))?$/;

/**
 * Decodes `aws-chunked`, and with a seal checks each chunk's signature.
 *
 * ```
 * <hex size>[;chunk-signature=<hex>]\r\n<bytes>\r\n … 0[;chunk-signature=<hex>]\r\n[name:value\r\n …]\r\n
 * ```
 *
 * The bytes of a chunk come out before its signature is verified: keep them invisible until {@link end}.
 */
export class ChunkDecoder {
  /** Trailing headers, lower-case names; complete after {@link end}. */
  readonly trailers = new Map<string, string>();
  readonly #trailer: boolean;
  readonly #seal: ChunkSeal | undefined;
  #state: 'size' | 'bytes' | 'bytesEnd' | 'trailer' | 'done' = 'size';
  #line = '';
  #left = 0;
  #isSmall = false;
  #chunkHash: Hash | undefined;
  #chunkSignature = '';

  constructor(trailer: boolean, seal: ChunkSeal | undefined) {
    this.#trailer = trailer;
    this.#seal = seal;
  }

  /** The content in these bytes of the body. @throws S3Error IncompleteBody, MalformedTrailerError, SignatureDoesNotMatch. */
  push(bytes: Buffer): Buffer[] {
    const content: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      if (this.#state === 'bytes') {
        const piece = bytes.subarray(at, at + this.#left);
        at += piece.length;
        this.#left -= piece.length;
        this.#chunkHash?.update(piece);
        content.push(piece);
        if (this.#left === 0) this.#endChunk('bytesEnd');
        continue;
      }
      const newline = bytes.indexOf(0x0a, at);
      this.#line += bytes.toString('latin1', at, newline === -1 ? bytes.length : newline);
      at = newline === -1 ? bytes.length : newline + 1;
      if (this.#line.length > MAX_LINE_BYTES) throw badFraming();
      if (newline !== -1) this.#takeLine();
    }
    return content;
  }

  /** @throws S3Error IncompleteBody if the body stopped before its end. */
  end(): void {
    if (this.#state !== 'done') throw badFraming();
  }

  #takeLine(): void {
    if (!this.#line.endsWith('\r')) throw badFraming();
    const line = this.#line.slice(0, -1);
    this.#line = '';
    if (this.#state === 'size') this.#beginChunk(line);
    else if (this.#state === 'trailer') this.#takeTrailer(line);
    else if (this.#state === 'bytesEnd' && line === '') this.#state = 'size';
    else throw badFraming();
  }

  #beginChunk(line: string): void {
    const [, size, signature] = SIZE_LINE.exec(line) ?? [];
    if (size === undefined || (this.#seal === undefined) !== (signature === undefined)) throw badFraming();
    this.#chunkSignature = signature ?? '';
    if (this.#seal !== undefined) this.#chunkHash = createHash('sha256');
    this.#left = Number.parseInt(size, 16);
    if (this.#isSmall && this.#left > 0) {
      throw new S3Error('InvalidChunkSizeError', 'Only the last chunk is allowed to have a size less than 8192 bytes');
    }
    this.#isSmall = this.#left < MIN_CHUNK_BYTES;
    if (this.#left > 0) this.#state = 'bytes';
    else this.#endChunk('trailer');
  }

  #endChunk(next: 'bytesEnd' | 'trailer'): void {
    if (this.#chunkHash !== undefined) this.#seal?.checkChunk(this.#chunkHash.digest('hex'), this.#chunkSignature);
    this.#chunkHash = undefined;
    this.#state = next;
  }

  #takeTrailer(line: string): void {
    if (line !== '') {
      const colon = line.indexOf(':');
      if (colon < 1 || !this.#trailer || this.trailers.size === MAX_TRAILERS) throw badTrailer();
      this.trailers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
      return;
    }
    if (this.#trailer && this.#seal !== undefined) {
      const signature = this.trailers.get('x-amz-trailer-signature') ?? '';
      if (!/^[0-9a-f]{64}$/.test(signature)) throw badTrailer();
      this.trailers.delete('x-amz-trailer-signature');
      const canonical = [...this.trailers].map(([name, value]) => `${name}:${value}\n`).join('');
      this.#seal.checkTrailer(createHash('sha256').update(canonical).digest('hex'), signature);
    }
    this.#state = 'done';
  }
}

function badFraming(): S3Error {
  return new S3Error('IncompleteBody', 'The request body terminated unexpectedly or is not in aws-chunked encoding');
}

/** S3's error for a missing, unexpected or malformed trailer. */
export function badTrailer(): S3Error {
  return new S3Error(
    'MalformedTrailerError',
    'The request contained trailing data that was not well-formed or did not conform to our published schema.',
  );
}
