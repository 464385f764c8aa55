import { sleep } from '../async/time.ts';
import {
  CacheError,
  ContentMismatchError,
  SlowBlobError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { OP, openBlobBody, wrongSize, type BlobBody } from './blob-body.ts';
import { connectionFailure, htmlWords, isHtml } from './failure.ts';
import { askInOrder, backoffMs } from './retry.ts';
import { type BlobReading, type Pace, paceOf } from './settings.ts';
import type { Session, Sources } from './session.ts';
import type { RequestContext } from './transport.ts';
import type { BlobBytes } from './upstream.ts';

/** A connection that delivered this much made progress, however short it was. */
const PROGRESS_BYTES = 64 * 1024;
/** Bytes from the start that are checked for an HTML page. */
const PAGE_BYTES = 4096;
/** Limits the wait of reconnects after little progress to 1.6 s. */
const MAX_HICCUPS = 4;

interface OpenedBody {
  readonly blobBody: BlobBody;
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly session: Session;
  readonly from: string;
  /** Bytes that remain to be skipped. */
  skipBytes: number;
  /** Bytes passed to the consumer. */
  givenBytes: number;
}

/** Opens the blob from `offset` on. When this resolves, the blob exists and may be read. */
export async function openBlob(
  sources: Sources,
  path: string,
  blob: Descriptor,
  offset: number,
  context: RequestContext,
  reading: BlobReading = {},
): Promise<BlobBytes> {
  if (offset < 0 || offset > blob.size) throw wrongSize(blob, `byte ${offset} was asked for`);
  const reader = new BlobReader(sources, path, blob, offset, context, reading);
  await reader.open();
  return reader;
}

/** Reconnects when a connection breaks. For one consumer; `return` releases the connection. */
class BlobReader implements AsyncIterableIterator<Uint8Array>, BlobBytes {
  readonly #path: string;
  readonly #blob: Descriptor;
  readonly #context: RequestContext;
  readonly #pace: Pace;
  readonly #isAgain: boolean;
  readonly #firstByte: number;
  #sources: Sources;
  /** The next byte for the consumer. */
  #offset: number;
  #opened: OpenedBody | undefined;
  /** The sender of the last bytes, and the start of the blob: for messages. */
  #sender: BlobBody | undefined;
  #start: Buffer | undefined;
  /** Reconnects in a row that delivered nothing. */
  #stalls = 0;
  /** Reconnects in a row that delivered little. */
  #hiccups = 0;
  /** The registry does not answer ranges correctly, so the whole blob is requested. */
  #isWhole = false;
  #ended = false;
  /** In the current window of the pace. */
  #waitedMs = 0;
  #receivedBytes = 0;
  /** Why the last body broke, if it did not just end. Reported if reconnecting fails, too. */
  #lastBreak: CacheError | undefined;

  constructor(
    sources: Sources,
    path: string,
    blob: Descriptor,
    offset: number,
    context: RequestContext,
    { pace = paceOf(), again = false }: BlobReading,
  ) {
    this.#sources = again ? { ...sources, mirrors: [] } : sources;
    this.#path = path;
    this.#blob = blob;
    this.#offset = offset;
    this.#firstByte = offset;
    this.#context = context;
    this.#pace = pace;
    this.#isAgain = again;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async open(): Promise<void> {
    // After the last byte there is nothing to request. An empty blob is requested as a whole.
    if (this.#offset > 0 && this.#offset === this.#blob.size) return;
    this.#opened = await askInOrder(this.#sources, this.#context.signal, (session) => this.#openAt(session));
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      while (!this.#ended) {
        const chunk = await this.#waiting(() => this.#nextOfBody());
        if (chunk !== undefined) return { done: false, value: chunk };
        if (this.#offset === this.#blob.size) this.#end();
        else await this.#waiting(() => this.#reopen());
      }
      return { done: true, value: undefined };
    } catch (error) {
      this.#end();
      this.#sender = undefined;
      throw error;
    }
  }

  sender(): string | undefined {
    if (this.#sender === undefined) return undefined;
    const { from, secrets } = this.#sender;
    const text = secrets.removedFrom(this.#start?.toString('utf8') ?? '');
    return isHtml(text) ? `${from} as ${htmlWords(text)}` : from;
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #end(): void {
    this.#ended = true;
    close(this.#opened);
    this.#opened = undefined;
  }

  /** Measures the time spent waiting for the upstream. */
  async #waiting<T>(work: () => Promise<T>): Promise<T> {
    const askedMs = performance.now();
    const result = await work();
    this.#waitedMs += performance.now() - askedMs;
    if (this.#waitedMs >= this.#pace.windowMs) this.#checkPace();
    return result;
  }

  #checkPace(): void {
    const isDone = this.#offset === this.#blob.size;
    const { windowMs, leastBytes } = this.#pace;
    if (this.#receivedBytes / this.#waitedMs < leastBytes / windowMs && !isDone) {
      const pace = `${this.#receivedBytes} bytes in ${Math.round(this.#waitedMs)} ms`;
      // Another source may be faster.
      if (this.#opened?.session.isMirror === true) {
        this.#leave(this.#opened);
        return;
      }
      throw new SlowBlobError(
        OP,
        `blob ${this.#blob.digest} of ${this.#path} is too slow: ${this.#opened?.from ?? 'its registry'} sent ${pace}; the copy continues later`,
        this.#offset - this.#firstByte,
        this.#lastBreak,
      );
    }
    this.#waitedMs = 0;
    this.#receivedBytes = 0;
  }

  /** Undefined at the end of the body, complete or broken. */
  async #nextOfBody(): Promise<Uint8Array | undefined> {
    const opened = this.#opened;
    while (opened !== undefined) {
      let result: IteratorResult<Uint8Array>;
      try {
        result = await opened.chunks.next();
      } catch (error) {
        this.#context.signal.throwIfAborted();
        if (opened.blobBody.decoder !== undefined && isOfDecoder(error)) {
          throw wrongSize(this.#blob, `${opened.from} sent it compressed, and it cannot be decompressed`);
        }
        this.#lastBreak = connectionFailure(OP, opened.from, error);
        return undefined;
      }
      if (result.done === true) {
        const { label } = opened.blobBody;
        // The body is complete but too short: it was compressed after all.
        if (label !== undefined && this.#offset < this.#blob.size) {
          throw wrongSize(this.#blob, `${opened.from} sent ${this.#offset} (content-encoding ${label})`);
        }
        this.#lastBreak = undefined;
        return undefined;
      }
      this.#receivedBytes += result.value.byteLength;
      const chunk = result.value.subarray(Math.min(opened.skipBytes, result.value.byteLength));
      opened.skipBytes -= result.value.byteLength - chunk.byteLength;
      if (chunk.byteLength === 0) continue;
      if (this.#offset + chunk.byteLength > this.#blob.size) {
        throw wrongSize(this.#blob, `${opened.from} sends more bytes`);
      }
      // Copied, because the chunk belongs to the consumer.
      if (this.#offset === 0) this.#start = Buffer.from(chunk.subarray(0, PAGE_BYTES));
      this.#sender = opened.blobBody;
      this.#offset += chunk.byteLength;
      opened.givenBytes += chunk.byteLength;
      return chunk;
    }
    return undefined;
  }

  /** Closes the body. A mirror that broke off, or is too slow, is not used for the rest. */
  #leave(left: OpenedBody | undefined): void {
    close(left);
    this.#opened = undefined;
    if (left?.session.isMirror !== true) return;
    this.#waitedMs = 0;
    this.#receivedBytes = 0;
    const mirrors = this.#sources.mirrors.filter((mirror) => mirror !== left.session);
    this.#sources = { ...this.#sources, mirrors };
  }

  async #reopen(): Promise<void> {
    const { signal } = this.#context;
    const left = this.#opened;
    this.#leave(left);
    this.#count(left);
    const { stalls } = this.#sources.endpoint.limits;
    if (this.#stalls > stalls) throw this.#gaveUp(`${stalls} reconnects in a row delivered nothing`);
    // No wait after progress, nor before the first reconnect without progress.
    const tries = Math.max(this.#stalls, this.#hiccups);
    if (tries > 1) await sleep(backoffMs(tries), signal);
    await this.open();
  }

  #count(left: OpenedBody | undefined): void {
    const givenBytes = left?.givenBytes ?? 0;
    if (givenBytes === 0) {
      this.#stalls++;
    } else if (givenBytes >= PROGRESS_BYTES) {
      this.#stalls = 1;
      this.#hiccups = 1;
    } else {
      this.#stalls = Math.max(this.#stalls, 1);
      this.#hiccups = Math.min(this.#hiccups + 1, MAX_HICCUPS);
    }
  }

  #gaveUp(reconnects: string): UpstreamUnavailableError {
    const why = this.#lastBreak?.message ?? 'the body ended early';
    return new UpstreamUnavailableError(
      OP,
      `blob ${this.#blob.digest} of ${this.#path} broke off at byte ${this.#offset} of ${this.#blob.size}, and ${reconnects} (${why})`,
      {
        cause: this.#lastBreak,
        timedOut: this.#lastBreak instanceof UpstreamUnavailableError && this.#lastBreak.timedOut,
      },
    );
  }

  /** Requests a range. If it is not answered correctly, requests the whole blob and skips its start. */
  async #openAt(session: Session): Promise<OpenedBody> {
    const ask = async (from: number): Promise<OpenedBody> => {
      const asked = { path: this.#path, blob: this.#blob, from, offset: this.#offset, isAgain: this.#isAgain };
      const blobBody = await openBlobBody(session, asked, this.#context);
      // A range of a compressed body would have other bytes.
      this.#isWhole ||= blobBody.decoder !== undefined;
      const { stream, skipBytes } = blobBody;
      const chunks = stream[Symbol.asyncIterator]();
      return { blobBody, chunks, session, from: blobBody.from, skipBytes, givenBytes: 0 };
    };
    if (this.#offset === 0 || this.#isWhole) return await ask(0);
    try {
      return await ask(this.#offset);
    } catch (error) {
      if (!(error instanceof UpstreamRefusedError) && !(error instanceof ContentMismatchError)) throw error;
      this.#isWhole = true;
      return await ask(0);
    }
  }
}

/** Whether the error comes from decompression, not from the connection. */
const isOfDecoder = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && /^(?:Z_|ERR_+(?:BROTLI|ZSTD)|ZSTD_)/.test(String(error.code));

function close(opened: OpenedBody | undefined): void {
  opened?.blobBody.body.destroy();
  opened?.blobBody.decoder?.destroy();
}
