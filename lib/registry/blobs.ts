import { sleep } from '../clock/sleep.ts';
import { BlobUnknownError, CacheError, ContentMismatchError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { discard, type Body } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import { isRedirect, REDIRECT_STATUSES } from './redirect.ts';
import { askInOrder } from './mirrors.ts';
import { backoffMs } from './retry.ts';
import type { ApiRequest, Session, Sources } from './session.ts';
import { shown, type Answer, type Caller } from './transport.ts';

const OP = 'read blob';
const OP_FIND = 'find blob';

/**
 * Whether the host confirms, by 200, that it holds the blob for this repository. False on 404, and on a redirect, which confirms nothing (I9).
 *
 * @throws ContentMismatchError if it is there with another size.
 */
export async function hasBlob(session: Session, path: string, blob: Descriptor, caller: Caller): Promise<boolean> {
  const request: ApiRequest = {
    op: OP_FIND,
    kind: 'blob',
    method: 'HEAD',
    path,
    reference: blob.digest,
    headers: {},
    accepts: [200, 404, ...REDIRECT_STATUSES],
    // Registries redirect for what they do not hold, too, and only the bytes would show it.
    follow: false,
  };
  return await session.ask(request, caller, async (answer) => {
    await discard(answer.body);
    if (answer.status === 404 || isRedirect(answer.status)) return false;
    const told = Number(single(answer.headers['content-length']) ?? '0');
    // Some registries answer a HEAD with a length of 0, which says nothing.
    if (told !== 0 && told !== blob.size) throw wrongSize(OP_FIND, blob, `${answer.url.host} says it has ${told}`);
    return true;
  });
}

/** The least that a blob must come with. A copier holds the blob's claim, so one slow registry would make all others wait for it. */
export interface Pace {
  /** Counted while we wait for the upstream; a slow consumer is no stall. */
  readonly windowMs: number;
  /** Less than this within a window is a stall; a connection that brought less is no progress that resets their count. */
  readonly leastBytes: number;
  /** Reconnects of one blob in all, whatever they brought. */
  readonly reconnects: number;
}

const PACE: Pace = { windowMs: 60_000, leastBytes: 64 * 1024, reconnects: 100 };
/** Reconnects after little progress wait, but not ever longer: 1.6 s at most. */
const MAX_HICCUPS = 4;

/** A body that starts at `offset` once `skipBytes` of it are thrown away. */
interface OpenedBody {
  readonly body: Body;
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly session: Session;
  readonly from: string;
  skipBytes: number;
  /** Given out so far. */
  givenBytes: number;
  /** Of the window that runs. */
  waitedMs: number;
  receivedBytes: number;
  isSlow: boolean;
}

/** The blob from `offset` on, opened: whether it is there and may be read is known when this resolves. */
export async function openBlob(
  sources: Sources,
  path: string,
  blob: Descriptor,
  offset: number,
  caller: Caller,
  pace = PACE,
): Promise<AsyncIterable<Uint8Array>> {
  if (offset < 0 || offset > blob.size) throw wrongSize(OP, blob, `byte ${offset} was asked for`);
  const reader = new BlobReader(sources, path, blob, offset, caller, pace);
  await reader.open();
  return reader;
}

/** Reads on through broken connections. One consumer; `return` gives the connection back. */
class BlobReader implements AsyncIterableIterator<Uint8Array> {
  readonly #path: string;
  readonly #blob: Descriptor;
  readonly #caller: Caller;
  readonly #pace: Pace;
  #sources: Sources;
  /** The next byte to give out. */
  #offset: number;
  #opened: OpenedBody | undefined;
  /** Reconnects in a row that brought nothing, or too slowly. */
  #stalls = 0;
  /** Reconnects in a row that brought little. */
  #hiccups = 0;
  #reconnects = 0;
  #ended = false;
  /** Why the last body broke, if it did not just end: told if reading on fails, too. */
  #lastBreak: CacheError | undefined;

  constructor(sources: Sources, path: string, blob: Descriptor, offset: number, caller: Caller, pace: Pace) {
    this.#sources = sources;
    this.#path = path;
    this.#blob = blob;
    this.#offset = offset;
    this.#caller = caller;
    this.#pace = pace;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async open(): Promise<void> {
    // There is nothing to ask for behind the last byte; an empty blob is asked for as a whole.
    if (this.#offset > 0 && this.#offset === this.#blob.size) return;
    this.#opened = await askInOrder(this.#sources, this.#caller.signal, (session) => this.#openAt(session));
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      while (!this.#ended) {
        const chunk = await this.#nextOfBody();
        if (chunk !== undefined) return { done: false, value: chunk };
        if (this.#offset === this.#blob.size) this.#end();
        else await this.#reopen();
      }
      return { done: true, value: undefined };
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #end(): void {
    this.#ended = true;
    this.#opened?.body.destroy();
    this.#opened = undefined;
  }

  /** Undefined at the end of the body, however it came. */
  async #nextOfBody(): Promise<Uint8Array | undefined> {
    const opened = this.#opened;
    while (opened?.isSlow === false) {
      let result: IteratorResult<Uint8Array>;
      try {
        const askedMs = performance.now();
        result = await opened.chunks.next();
        opened.waitedMs += performance.now() - askedMs;
      } catch (error) {
        this.#caller.signal.throwIfAborted();
        this.#lastBreak = connectionFailure(OP, opened.from, error);
        return undefined;
      }
      if (result.done === true) {
        this.#lastBreak = undefined;
        return undefined;
      }
      this.#checkPace(opened, result.value.byteLength);
      const chunk = result.value.subarray(Math.min(opened.skipBytes, result.value.byteLength));
      opened.skipBytes -= result.value.byteLength - chunk.byteLength;
      if (chunk.byteLength === 0) continue;
      if (this.#offset + chunk.byteLength > this.#blob.size) {
        throw wrongSize(OP, this.#blob, `${opened.from} sends more`);
      }
      this.#offset += chunk.byteLength;
      opened.givenBytes += chunk.byteLength;
      return chunk;
    }
    return undefined;
  }

  /** A body that is too slow ends after this chunk. */
  #checkPace(opened: OpenedBody, bytes: number): void {
    opened.receivedBytes += bytes;
    if (opened.waitedMs < this.#pace.windowMs) return;
    if (opened.receivedBytes < this.#pace.leastBytes) {
      opened.isSlow = true;
      const pace = `${opened.receivedBytes} bytes in ${Math.round(opened.waitedMs)} ms`;
      this.#lastBreak = new UpstreamUnavailableError(OP, `${opened.from} gave ${pace}`, { timedOut: true });
    }
    opened.waitedMs = 0;
    opened.receivedBytes = 0;
  }

  async #reopen(): Promise<void> {
    const { signal } = this.#caller;
    const left = this.#opened;
    left?.body.destroy();
    this.#opened = undefined;
    // A mirror that broke off is not asked for the rest.
    if (left?.session.isMirror === true) {
      const mirrors = this.#sources.mirrors.filter((mirror) => mirror !== left.session);
      this.#sources = { ...this.#sources, mirrors };
    }
    this.#count(left);
    const { stalls } = this.#sources.endpoint.limits;
    if (this.#stalls > stalls) throw this.#gaveUp(`${stalls} reconnects in a row brought no more`);
    if (this.#reconnects > this.#pace.reconnects) {
      throw this.#gaveUp(`${this.#pace.reconnects} reconnects did not bring it to its end`);
    }
    // At once after progress, and the first time without.
    const tries = Math.max(this.#stalls, this.#hiccups);
    if (tries > 1) await sleep(backoffMs(tries), signal);
    await this.open();
  }

  #count(left: OpenedBody | undefined): void {
    const givenBytes = left?.givenBytes ?? 0;
    this.#reconnects++;
    if (left?.isSlow === true || givenBytes === 0) {
      this.#stalls++;
    } else if (givenBytes >= this.#pace.leastBytes) {
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

  /** Always from the registry's own address: the one that it redirected to may have expired. */
  async #openAt(session: Session): Promise<OpenedBody> {
    const offset = this.#offset;
    const request: ApiRequest = {
      op: OP,
      kind: 'blob',
      method: 'GET',
      path: this.#path,
      reference: this.#blob.digest,
      headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
      accepts: offset === 0 ? [200, 404] : [200, 206, 404, 416],
      follow: true,
    };
    return await session.ask(request, this.#caller, async (answer) => {
      try {
        const skipBytes = await this.#checkStart(answer, offset);
        const chunks = (answer.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
        const start = { givenBytes: 0, waitedMs: 0, receivedBytes: 0, isSlow: false };
        return { body: answer.body, chunks, session, from: shown(answer.url), skipBytes, ...start };
      } catch (error) {
        answer.body.destroy();
        throw error;
      }
    });
  }

  /** How many bytes lie before `offset` in the answer. */
  async #checkStart(answer: Answer, offset: number): Promise<number> {
    const { host } = answer.url;
    if (answer.status === 404) {
      const words = await registryWords(answer);
      throw new BlobUnknownError(`${host} has no blob ${this.#blob.digest} in ${this.#path}${words}`);
    }
    if (answer.status === 416) throw wrongSize(OP, this.#blob, `${host} has no byte ${offset}`);
    if (answer.status === 200) {
      const told = single(answer.headers['content-length']);
      if (told !== undefined && Number(told) !== this.#blob.size) {
        throw wrongSize(OP, this.#blob, `${host} has ${told}`);
      }
      // Range was ignored: the bytes up to ours come once more.
      return offset;
    }
    const range = single(answer.headers['content-range']) ?? '';
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
    if (Number(start) !== offset || (total !== '*' && Number(total) !== this.#blob.size)) {
      throw wrongSize(OP, this.#blob, `${host} answers for byte ${offset} with range ${JSON.stringify(range)}`);
    }
    return 0;
  }
}

const wrongSize = (op: string, blob: Descriptor, found: string): ContentMismatchError =>
  new ContentMismatchError(
    op,
    `blob ${blob.digest} should have ${blob.size} bytes, but ${found}; nothing of it was kept`,
  );
