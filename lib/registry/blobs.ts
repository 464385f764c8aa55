import { BlobUnknownError, CacheError, ContentMismatchError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { discard, type Body } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import { isRedirect } from './redirect.ts';
import { askInOrder } from './mirrors.ts';
import { backoffMs, pause } from './retry.ts';
import type { ApiRequest, Session, Sources } from './session.ts';
import { shown, type Answer, type Caller } from './transport.ts';

const OP = 'read blob';
const OP_FIND = 'find blob';
/** S3 and the like are asked for nothing: a redirect says that the blob is there. */
const REDIRECT_STATUSES = [301, 302, 303, 307, 308] as const;

/**
 * Whether the host holds the blob for this repository. False on 404 and only then.
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
    follow: false,
  };
  return await session.ask(request, caller, async (answer) => {
    await discard(answer.body);
    if (answer.status === 404) return false;
    if (isRedirect(answer.status)) return true;
    const told = Number(single(answer.headers['content-length']) ?? '0');
    // Some registries answer a HEAD with a length of 0, which says nothing.
    if (told !== 0 && told !== blob.size) throw wrongSize(OP_FIND, blob, `${answer.url.host} says it has ${told}`);
    return true;
  });
}

/** A body that starts at `offset` once `skipBytes` of it are thrown away. */
interface OpenedBody {
  readonly body: Body;
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly session: Session;
  readonly from: string;
  skipBytes: number;
}

/** The blob from `offset` on, opened: whether it is there and may be read is known when this resolves. */
export async function openBlob(
  sources: Sources,
  path: string,
  blob: Descriptor,
  offset: number,
  caller: Caller,
): Promise<AsyncIterable<Uint8Array>> {
  if (offset < 0 || offset > blob.size) throw wrongSize(OP, blob, `byte ${offset} was asked for`);
  const reader = new BlobReader(sources, path, blob, offset, caller);
  await reader.open();
  return reader;
}

/** Reads on through broken connections. One consumer; `return` gives the connection back. */
class BlobReader implements AsyncIterableIterator<Uint8Array> {
  readonly #path: string;
  readonly #blob: Descriptor;
  readonly #caller: Caller;
  #sources: Sources;
  /** The next byte to give out. */
  #offset: number;
  #opened: OpenedBody | undefined;
  /** Reconnects in a row that brought no byte. */
  #stalls = 0;
  #ended = false;
  /** Why the last body broke, if it did not just end: told if reading on fails, too. */
  #lastBreak: CacheError | undefined;

  constructor(sources: Sources, path: string, blob: Descriptor, offset: number, caller: Caller) {
    this.#sources = sources;
    this.#path = path;
    this.#blob = blob;
    this.#offset = offset;
    this.#caller = caller;
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
    while (opened !== undefined) {
      let result: IteratorResult<Uint8Array>;
      try {
        result = await opened.chunks.next();
      } catch (error) {
        this.#caller.signal.throwIfAborted();
        this.#lastBreak = connectionFailure(OP, opened.from, error);
        return undefined;
      }
      if (result.done === true) {
        this.#lastBreak = undefined;
        return undefined;
      }
      const chunk = result.value.subarray(Math.min(opened.skipBytes, result.value.byteLength));
      opened.skipBytes -= result.value.byteLength - chunk.byteLength;
      if (chunk.byteLength === 0) continue;
      if (this.#offset + chunk.byteLength > this.#blob.size) {
        throw wrongSize(OP, this.#blob, `${opened.from} sends more`);
      }
      this.#offset += chunk.byteLength;
      this.#stalls = 0;
      return chunk;
    }
    return undefined;
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
    this.#stalls++;
    const { stalls } = this.#sources.endpoint.limits;
    if (this.#stalls > stalls) {
      const why = this.#lastBreak?.message ?? 'the body ended early';
      throw new UpstreamUnavailableError(
        OP,
        `blob ${this.#blob.digest} of ${this.#path} broke off at byte ${this.#offset} of ${this.#blob.size}, and ${stalls} reconnects in a row brought no more (${why})`,
        {
          cause: this.#lastBreak,
          timedOut: this.#lastBreak instanceof UpstreamUnavailableError && this.#lastBreak.timedOut,
        },
      );
    }
    // After progress at once; the first reconnect without any waits.
    if (this.#stalls > 1) await pause(backoffMs(this.#stalls), signal);
    await this.open();
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
        return { body: answer.body, chunks, session, from: shown(answer.url), skipBytes };
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
