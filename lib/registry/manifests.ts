import { sleep } from '../async/time.ts';
import {
  ContentMismatchError,
  InvalidManifestError,
  ManifestUnknownError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { algorithmOf, digestOf, isDigest, type Digest } from '../oci/digest.ts';
import { namedBlobs, parseManifest, type Index, type Manifest } from '../oci/manifest.ts';
import { isSchema1Type, MANIFEST_ACCEPT } from '../oci/media-type.ts';
import { parseJson } from '../oci/descriptor.ts';
import { decoded, discard, isCoded, readBounded } from './body.ts';
import { answerFailure, clean, connectionFailure, htmlWords, isHtml, registryWords, single } from './failure.ts';
import { NotFollowedError } from './redirect.ts';
import { backoffMs, isTransient } from './retry.ts';
import type { Session } from './session.ts';
import type { RegistryResponse, RequestContext } from './transport.ts';
import type { FetchedManifest, Resolution } from './upstream.ts';

const OP_RESOLVE = 'resolve';
const OP_READ = 'read manifest';

/**
 * What the tag means at this host. HEAD is a hint that costs no pull at Docker Hub: whatever else it says than 200 with a digest that we keep, or 429, GET
 * decides. At a mirror 404 is enough: the registry itself is asked next.
 * Where HEAD names a SHA-512, the bytes say whether that is their digest: few registries give a manifest by it.
 */
export async function resolveTag(
  session: Session,
  path: string,
  tag: string,
  context: RequestContext,
): Promise<Resolution> {
  const checkedMs = Date.now();
  const hint = await askHead(session, path, tag, context);
  if (typeof hint === 'string') {
    if (algorithmOf(hint) === 'sha256') return { digest: hint, checkedMs };
    const { manifest } = await getTag(session, path, tag, context, session.limits.attempts);
    const named = digestOf(manifest.bytes, 'sha512') === hint ? withDigest(manifest, hint) : manifest;
    return { digest: named.descriptor.digest, checkedMs, manifest: named };
  }
  const { limits, isMirror } = session;
  if (hint !== undefined && isMirror) throw hint;
  // Whoever wants to be left alone for long says so to GET, too.
  if (hint !== undefined) {
    const { retryAfterMs = 0 } = hint;
    await sleep(backoffMs(1) + (retryAfterMs > limits.retryAfterMaxMs ? 0 : retryAfterMs), context.signal);
  }
  // The request that failed was one of the tries.
  const attempts = hint === undefined ? limits.attempts : Math.max(1, limits.attempts - 1);
  return { checkedMs, ...(await getTag(session, path, tag, context, attempts)) };
}

const isEmpty = (content: Index | Manifest): boolean =>
  content.kind === 'index' ? content.entries.length === 0 : namedBlobs(content).length === 0;

const withDigest = (manifest: FetchedManifest, digest: Digest): FetchedManifest => ({
  ...manifest,
  descriptor: { ...manifest.descriptor, digest },
});

/** What the tag means at this host by the bytes that it gives for it. */
export async function fetchTag(
  session: Session,
  path: string,
  tag: string,
  context: RequestContext,
): Promise<Resolution & { readonly manifest: FetchedManifest }> {
  return { checkedMs: Date.now(), ...(await getTag(session, path, tag, context, session.limits.attempts)) };
}

async function getTag(
  session: Session,
  path: string,
  tag: string,
  context: RequestContext,
  attempts: number,
): Promise<Pick<Resolution, 'digest'> & { manifest: FetchedManifest }> {
  const manifest = await getManifest(session, OP_RESOLVE, path, tag, context, attempts);
  // Nobody named the digest, so a mirror's answer has nothing but itself to prove that it is a manifest: one with nothing in it proves nothing.
  if (session.isMirror && isEmpty(parseManifest(manifest.bytes, manifest.descriptor.mediaType, { fanOut: Infinity })))
    throw new InvalidManifestError(`a mirror gave a manifest with nothing in it for ${path} ${tag}`);
  const { descriptor, bytes } = manifest;
  return { digest: descriptor.digest, manifest: { descriptor, bytes } };
}

/** The digest; an error where the host, or the connection, may be at fault for a while; undefined where HEAD is of no use. */
async function askHead(
  session: Session,
  path: string,
  tag: string,
  context: RequestContext,
): Promise<Digest | UpstreamUnavailableError | undefined> {
  const request = {
    op: OP_RESOLVE,
    kind: 'manifest',
    method: 'HEAD',
    path,
    reference: tag,
    headers: { accept: MANIFEST_ACCEPT },
    accepts: 'hint',
    follow: true,
  } as const;
  try {
    return await session.ask(request, context, async (answer) => {
      const { status, headers } = answer;
      if (status === 404 && session.isMirror) throw await unknownManifest(path, tag, answer);
      if (status !== 200) {
        const failure = await answerFailure(OP_RESOLVE, answer);
        if (!isTransient(failure)) return undefined;
        // So that it is left alone for a while.
        if (session.isMirror) throw failure;
        return failure as UpstreamUnavailableError;
      }
      await discard(answer.body);
      const digest = single(headers['docker-content-digest']) ?? '';
      return isDigest(digest) && !isPage(headers) ? digest : undefined;
    });
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof UpstreamUnavailableError && !session.isMirror) return error;
    // A redirect that is not followed says nothing of what GET answers.
    if (error instanceof NotFollowedError) return undefined;
    throw error;
  }
}

const isPage = (headers: RegistryResponse['headers']): boolean =>
  mediaTypeOf(single(headers['content-type'])) === 'text/html';

/** The manifest by digest, verified; fetched a second time if the bytes are wrong. */
export async function fetchManifest(
  session: Session,
  path: string,
  digest: Digest,
  context: RequestContext,
): Promise<FetchedManifest> {
  const get = (): Promise<AnsweredManifest> =>
    getManifest(session, OP_READ, path, digest, context, session.limits.attempts, digest);
  let found = await get();
  if (found.descriptor.digest !== digest) found = await get();
  if (found.descriptor.digest === digest) return { descriptor: found.descriptor, bytes: found.bytes };
  throw new ContentMismatchError(
    OP_READ,
    `manifest ${digest} of ${path} was asked for, but the ${found.descriptor.size} bytes that came from ${found.from} have digest ${found.descriptor.digest}, twice; nothing of it was kept`,
  );
}

/** With who answered, for messages. */
type AnsweredManifest = FetchedManifest & { readonly from: string };

async function getManifest(
  session: Session,
  op: string,
  path: string,
  reference: string,
  context: RequestContext,
  attempts: number,
  wanted?: Digest,
): Promise<AnsweredManifest> {
  const request = {
    op,
    kind: 'manifest',
    method: 'GET',
    path,
    reference,
    headers: { accept: MANIFEST_ACCEPT },
    accepts: [200, 404],
    follow: true,
    attempts,
  } as const;
  return await session.ask(request, context, async (answer) => {
    if (answer.status === 404) throw await unknownManifest(path, reference, answer);
    try {
      const what = { op, name: `${path} ${reference}`, wanted };
      const manifest = await readAnswer(answer, what, session.limits.manifestBytes, context.signal);
      return { ...manifest, from: answer.from };
    } finally {
      answer.body.destroy();
    }
  });
}

/** What is asked for: for errors, and for what may come coded. */
interface Asked {
  readonly op: string;
  readonly name: string;
  readonly wanted: Digest | undefined;
}

async function readAnswer(
  answer: RegistryResponse,
  { op, name, wanted }: Asked,
  maxBytes: number,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const { headers, from } = answer;
  const mediaType = mediaTypeOf(single(headers['content-type']));
  const schema1 = (): InvalidManifestError =>
    new InvalidManifestError(
      `manifest ${name} is of Docker schema 1, which has no descriptors to verify blobs by; push the image again with a current client (schema 2 or OCI)`,
    );
  const length = Number(single(headers['content-length']) ?? '0');
  if (length > maxBytes) throw tooLarge(name, `${length} bytes`, maxBytes);
  const { bytes, truncated } = await readBounded(answer.body, maxBytes, answer.bodyTimeoutMs).catch(
    (error: unknown) => {
      signal.throwIfAborted();
      throw connectionFailure(op, from, error);
    },
  );
  if (truncated) throw tooLarge(name, `more than ${maxBytes} bytes`, maxBytes);
  const content = await uncoded(answer, bytes, wanted, name, maxBytes);
  const digest = digestOf(content, wanted === undefined ? 'sha256' : algorithmOf(wanted));
  if (digest !== wanted) {
    const document = jsonOf(content);
    const says = (document as { mediaType?: unknown } | undefined)?.mediaType;
    if (isSchema1Type(mediaType) && (typeof says !== 'string' || says === '' || isSchema1Type(says))) throw schema1();
    const text = answer.secrets.removedFrom(content.subarray(0, PAGE_BYTES).toString('utf8'));
    const isPage = isHtml(text) || (document === undefined && mediaType === 'text/html');
    // Wrong bytes for a digest are asked for once more; a page is not.
    if (isPage || (wanted === undefined && (typeof document !== 'object' || document === null))) {
      const type = mediaType || 'no content type';
      const words = isPage ? htmlWords(text) : `${type}: ${clean(text) || 'nothing'}`;
      throw new UpstreamRefusedError(
        op,
        `${from} answered 200 with ${words} where a manifest should be: something else than a registry answers there; check "endpoint" and "proxy" of the registry`,
      );
    }
  }
  if (wanted === undefined) requireManifest(content, mediaType, from);
  return { descriptor: { mediaType, digest, size: content.byteLength }, bytes: content };
}

/** Nobody named its digest: who gave it is told with what is wrong with it. */
function requireManifest(bytes: Uint8Array, mediaType: string, from: string): void {
  try {
    parseManifest(bytes, mediaType, { fanOut: Infinity });
  } catch (error) {
    if (!(error instanceof InvalidManifestError)) throw error;
    throw new InvalidManifestError(`${from} answered 200 (${clean(mediaType) || 'no content type'}): ${error.message}`);
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return parseJson(bytes);
  } catch {
    return undefined;
  }
}

const PAGE_BYTES = 4096;

/**
 * The bytes as the registry stores them. `Content-Encoding` may be a label of the storage that means nothing, or a coding that nobody asked for: the digest
 * tells, and where nobody named one, whether it is JSON.
 */
async function uncoded(
  answer: RegistryResponse,
  bytes: Buffer,
  wanted: Digest | undefined,
  name: string,
  maxBytes: number,
): Promise<Buffer> {
  const encoding = single(answer.headers['content-encoding']);
  if (!isCoded(encoding)) return bytes;
  const isPlain =
    wanted === undefined
      ? /^\s*\{/.test(bytes.toString('latin1', 0, 64))
      : digestOf(bytes, algorithmOf(wanted)) === wanted;
  if (isPlain) return bytes;
  const content = await decoded(bytes, encoding, maxBytes);
  if (content !== undefined) return content;
  throw new InvalidManifestError(
    `manifest ${name} came compressed (content-encoding ${JSON.stringify(encoding.slice(0, 40))}) though we asked for it as it is, and cannot be read`,
  );
}

const mediaTypeOf = (contentType: string | undefined): string =>
  (contentType ?? '').replace(/;.*$/s, '').trim().toLowerCase();

const tooLarge = (what: string, size: string, maxBytes: number): InvalidManifestError =>
  new InvalidManifestError(
    `manifest ${what} has ${size}, the limit is ${maxBytes}; raise "manifestBytes" of "limits" if it is meant to be that large`,
  );

async function unknownManifest(
  path: string,
  reference: string,
  answer: RegistryResponse,
): Promise<ManifestUnknownError> {
  const words = await registryWords(answer);
  return new ManifestUnknownError(
    `${answer.server} has no manifest ${JSON.stringify(reference)} in ${path}${words}; check the name and the tag`,
  );
}
