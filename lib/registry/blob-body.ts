import { pipeline, type Transform } from 'node:stream';
import { BlobUnknownError, ContentMismatchError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Body, decoderOf, isCoded } from './body.ts';
import { registryWords, single } from './failure.ts';
import type { ApiRequest, Session } from './session.ts';
import type { RegistryResponse, RequestContext } from './transport.ts';

export const OP = 'read blob';

/** What is wanted of one host. */
interface AskedBlob {
  readonly path: string;
  readonly blob: Descriptor;
  /** The first byte that is asked for: `offset`, or 0 where the whole blob is. */
  readonly from: number;
  /** The first byte that is wanted. */
  readonly offset: number;
  readonly isAgain: boolean;
}

/** Bytes of the blob, of which the first `skipBytes` were not wanted. */
export interface BlobBody {
  readonly body: Body;
  /** Takes off a coding that nobody asked for. */
  readonly decoder: Transform | undefined;
  /** A coding that it may have, and that was not undone: no length says. */
  readonly label: string | undefined;
  readonly stream: AsyncIterable<Uint8Array>;
  /** Who gives them, for messages. */
  readonly from: string;
  /** What may not be said of its words. */
  readonly secrets: RegistryResponse['secrets'];
  readonly skipBytes: number;
}

/**
 * Asks one host for the blob: always at its own address, because the one that it redirected to may have expired.
 *
 * @throws BlobUnknownError if it answers 404, and only then; ContentMismatchError where it has another size, or answers for another range.
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
      // What breaks in the body breaks the reading of the decoder.
      const stream = decoder === undefined ? body : pipeline(body, decoder, () => undefined);
      return { body, decoder, label, stream: stream as AsyncIterable<Uint8Array>, from: who, secrets, skipBytes };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  });
}

/** How many bytes lie before the first that is wanted, and what takes off a coding that nobody asked for. */
async function startOf(
  answer: RegistryResponse,
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
      // Of bytes that may be anybody's blob nothing is shown.
      const isText = /^(?:text\/|application\/(?:json|xml|problem))/i.test(single(headers['content-type']) ?? '');
      throw wrongSize(blob, `${answer.server} has ${length}${isText ? await registryWords(answer) : ''}`);
    }
    // Where Range was ignored the bytes up to ours come once more.
    const label = !isCodedNow && length === undefined && isCoded(encoding) ? encoding : undefined;
    return { skipBytes: offset, decoder: isCodedNow ? decoderOf(encoding) : undefined, label };
  }
  const range = single(headers['content-range']) ?? '';
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
  if (Number(start) !== from || (total !== '*' && Number(total) !== size)) {
    throw wrongSize(blob, `${url.host} answers for byte ${from} with range ${JSON.stringify(range)}`);
  }
  return { skipBytes: offset - from, decoder: undefined, label: undefined };
}

export const wrongSize = (blob: Descriptor, found: string): ContentMismatchError =>
  new ContentMismatchError(
    OP,
    `blob ${blob.digest} should have ${blob.size} bytes, but ${found}; nothing of it was kept`,
  );
