import { BlobSizeError, BlobUnknownError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, digestOf, type Digest } from '../oci/digest.ts';
import { decoded, discard, isCoded, readBounded } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import type { ApiRequest, Session } from './session.ts';
import type { UpstreamResponse, RequestContext } from './transport.ts';

const OP = 'find blob';

const headOf = (path: string, digest: Digest): ApiRequest => ({
  op: OP,
  kind: 'blob',
  method: 'HEAD',
  path,
  reference: digest,
  headers: {},
  accepts: 'hint',
  // Some registries redirect even for blobs that they do not hold.
  follow: false,
});

/**
 * Whether the host confirms that this repository holds the blob: HEAD answers 200 with a length that may be the blob's. Any other
 * answer, a redirect or a broken connection confirms nothing (I9); only a GET can decide then.
 *
 * @throws RateLimitedError; the errors of fetching a token.
 */
export async function hasBlob(
  session: Session,
  path: string,
  blob: Descriptor,
  context: RequestContext,
): Promise<boolean> {
  try {
    return await session.ask(headOf(path, blob.digest), context, async ({ status, headers, body }) => {
      await discard(body);
      if (status !== 200) return false;
      const length = single(headers['content-length']) ?? '0';
      // A length of 0, as some registries send for HEAD, says nothing. Nor does the length of a compressed body.
      return length === '0' || Number(length) === blob.size || isCoded(single(headers['content-encoding']));
    });
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof UpstreamUnavailableError) return false;
    throw error;
  }
}

/**
 * The size of the blob in bytes, as the host states it. If HEAD gives no length (404, 405, a redirect, …), the headers of a GET
 * decide. A body of unknown or compressed length is read and counted, up to `limits.manifestBytes`. Proves nothing (I9).
 *
 * @throws BlobUnknownError if a GET answers 404, and only then; BlobSizeError if the size cannot be determined.
 */
export async function fetchBlobSize(
  session: Session,
  path: string,
  digest: Digest,
  context: RequestContext,
): Promise<number> {
  return (await lengthByHead(session, path, digest, context)) ?? (await lengthByGet(session, path, digest, context));
}

async function lengthByHead(
  session: Session,
  path: string,
  digest: Digest,
  context: RequestContext,
): Promise<number | undefined> {
  try {
    return await session.ask(headOf(path, digest), context, async ({ status, headers, body }) => {
      await discard(body);
      const length = status === 200 && !isCoded(single(headers['content-encoding'])) ? lengthIn(headers) : undefined;
      // A length of 0, as some registries send for HEAD, says nothing.
      return length === 0 ? undefined : length;
    });
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof UpstreamUnavailableError && !session.isMirror) return undefined;
    throw error;
  }
}

async function lengthByGet(session: Session, path: string, digest: Digest, context: RequestContext): Promise<number> {
  const request: ApiRequest = { ...headOf(path, digest), method: 'GET', accepts: [200, 404], follow: true };
  return await session.ask(request, context, async (answer) => {
    if (answer.status === 404) {
      const words = await registryWords(answer);
      throw new BlobUnknownError(`${answer.server} has no blob ${digest} in ${path}${words}`);
    }
    const length = lengthIn(answer.headers);
    const isCodedBody = isCoded(single(answer.headers['content-encoding']));
    if (length === undefined || (isCodedBody && length <= session.limits.manifestBytes)) {
      return await countedLength(session, answer, digest, context);
    }
    // For a large body the encoding is most likely only a label of the storage.
    answer.body.destroy();
    return length;
  });
}

async function countedLength(
  session: Session,
  answer: UpstreamResponse,
  digest: Digest,
  context: RequestContext,
): Promise<number> {
  const { from, headers, body, bodyTimeoutMs } = answer;
  const most = session.limits.manifestBytes;
  const { bytes, truncated } = await readBounded(body, most, bodyTimeoutMs).catch((error: unknown) => {
    context.signal.throwIfAborted();
    throw connectionFailure(OP, from, error);
  });
  if (!truncated) {
    const encoding = single(headers['content-encoding']) ?? '';
    // The digest shows whether the encoding is only a label.
    const plain = digestOf(bytes, algorithmOf(digest)) === digest ? bytes : await decoded(bytes, encoding, most);
    return (plain ?? bytes).byteLength;
  }
  throw new BlobSizeError(
    `${from} sends blob ${digest} without a length, and it has more than ${most} bytes; request a manifest that names it first`,
  );
}

function lengthIn(headers: UpstreamResponse['headers']): number | undefined {
  const text = single(headers['content-length']) ?? '';
  return /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
}
