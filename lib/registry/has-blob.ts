import { BlobSizeError, BlobUnknownError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, digestOf, type Digest } from '../oci/digest.ts';
import { decoded, discard, isCoded, readBounded } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import type { ApiRequest, Session } from './session.ts';
import type { RegistryResponse, RequestContext } from './transport.ts';

const OP = 'find blob';

const headOf = (path: string, digest: Digest): ApiRequest => ({
  op: OP,
  kind: 'blob',
  method: 'HEAD',
  path,
  reference: digest,
  headers: {},
  accepts: 'hint',
  // Registries redirect for what they do not hold, too, and only the bytes would show it.
  follow: false,
});

/**
 * Whether the host confirms, by 200 and a length that may be the blob's, that it holds the blob for this repository. Whatever else a HEAD says, or a connection that
 * breaks, confirms nothing (I9), a redirect neither: the bytes, by GET, tell what it means.
 *
 * @throws RateLimitedError; what asking for a token means.
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
      // Some registries answer a HEAD with a length of 0, which says nothing; nor does that of a coded body.
      return length === '0' || Number(length) === blob.size || isCoded(single(headers['content-encoding']));
    });
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof UpstreamUnavailableError) return false;
    throw error;
  }
}

/**
 * The size of the blob in bytes, as the host says it. HEAD is a hint: where it gives no length (404, 405, a redirect, …) GET decides, of which no byte is read.
 * A body without a length of its own (none, or that of a Content-Encoding) is read and counted, up to `limits.manifestBytes`. Nothing here proves that the host has
 * these bytes (I9).
 *
 * @throws BlobUnknownError if a GET is answered 404, and only then; BlobSizeError if no length can be had.
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
      // Some registries answer a HEAD with a length of 0, which says nothing.
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
    // Of a large body that is called coded: storage that labels objects so is more common than one that encodes them.
    answer.body.destroy();
    return length;
  });
}

async function countedLength(
  session: Session,
  answer: RegistryResponse,
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
    // The digest tells a label from a coding.
    const plain = digestOf(bytes, algorithmOf(digest)) === digest ? bytes : await decoded(bytes, encoding, most);
    return (plain ?? bytes).byteLength;
  }
  throw new BlobSizeError(
    `${from} sends blob ${digest} without a length, and it has more than ${most} bytes; ask for a manifest that names it first`,
  );
}

function lengthIn(headers: RegistryResponse['headers']): number | undefined {
  const text = single(headers['content-length']) ?? '';
  return /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
}
