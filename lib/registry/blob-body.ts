import { pipeline, type Transform } from 'node:stream';
import { BlobUnknownError, ContentMismatchError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Body, decoderOf, isCoded } from './body.ts';
import { registryWords, single } from './failure.ts';
import type { ApiRequest, Session } from './session.ts';
import type { UpstreamResponse, RequestContext } from './transport.ts';

export const OP = 'read blob';

/** A request for a blob to one host. */
interface AskedBlob {
  readonly path: string;
  readonly blob: Descriptor;
  /** The first byte requested: `offset`, or 0 for the whole blob. */
  readonly from: number;
  /** The first byte needed. */
  readonly offset: number;
  readonly isAgain: boolean;
}

/** Bytes of the blob. The first `skipBytes` are to be skipped. */
export interface BlobBody {
  readonly body: Body;
  /** Removes a Content-Encoding that we did not ask for. */
  readonly decoder: Transform | undefined;
  /** A Content-Encoding that was not removed, because without a length it may be only a label. */
  readonly label: string | undefined;
  readonly stream: AsyncIterable<Uint8Array>;
  /** The sender, for messages. */
  readonly from: string;
  /** What messages must not contain. */
  readonly secrets: UpstreamResponse['secrets'];
  readonly skipBytes: number;
}

/**
 * Requests the blob from one host: always at its own address, because an earlier redirect may have expired.
 *
 * @throws BlobUnknownError if it answers 404, and only then; ContentMismatchError for a wrong size or another range.
 */
export async function openBlobBody(session: Session, asked: AskedBlob, context: RequestContext): Promise<BlobBody> {
  const { path, blob, from } = asked;
  const request: ApiRequest = {
    op: OP,
    kind: 'blob',
    method: 'GET',
    path,
    reference: blob.digest,
    headers: from === 0 ? {} : { range: `bytes=${from}-` },
    accepts: [200, 206, 404, 416],
    follow: true,
  };
  return await session.ask(request, context, async (answer) => {
    try {
      const { skipBytes, decoder, label } = await startOf(answer, asked);
      const { body, secrets, from: who } = answer;
      // An error of the body becomes an error of the decoder.
      const stream = decoder === undefined ? body : pipeline(body, decoder, () => undefined);
      return { body, decoder, label, stream: stream as AsyncIterable<Uint8Array>, from: who, secrets, skipBytes };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  });
}

/** How many bytes to skip, and how to decode the body. */
async function startOf(
  answer: UpstreamResponse,
  { path, blob, from, offset, isAgain }: AskedBlob,
): Promise<Pick<BlobBody, 'skipBytes' | 'decoder' | 'label'>> {
  const { headers, status, url } = answer;
  const { size, digest } = blob;
  if (status === 404) {
    const words = await registryWords(answer);
    throw new BlobUnknownError(`${answer.server} has no blob ${digest} in ${path}${words}`);
  }
  if (status === 416) throw wrongSize(blob, `${url.host} has no byte ${from}`);
  if (status === 200) {
    const length = single(headers['content-length']);
    const isOfSize = length === undefined || Number(length) === size;
    const encoding = single(headers['content-encoding']);
    const isCodedNow = isCoded(encoding) && (!isOfSize || (length === undefined && isAgain));
    if (!isOfSize && !isCodedNow) {
      // Binary content is never quoted in a message.
      const isText = /^(?:text\/|application\/(?:json|xml|problem))/i.test(single(headers['content-type']) ?? '');
      throw wrongSize(blob, `${answer.server} has ${length}${isText ? await registryWords(answer) : ''}`);
    }
    // The host ignored Range: the bytes before ours come again.
    const label = !isCodedNow && length === undefined && isCoded(encoding) ? encoding : undefined;
    return { skipBytes: offset, decoder: isCodedNow ? decoderOf(encoding) : undefined, label };
  }
  const range = single(headers['content-range']) ?? '';
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
  if (Number(start) !== from || (total !== '*' && Number(total) !== size)) {
    throw wrongSize(blob, `${url.host} answered a request from byte ${from} with range ${JSON.stringify(range)}`);
  }
  return { skipBytes: offset - from, decoder: undefined, label: undefined };
}

export const wrongSize = (blob: Descriptor, found: string): ContentMismatchError =>
  new ContentMismatchError(OP, `blob ${blob.digest} should have ${blob.size} bytes, but ${found}; nothing was stored`);
