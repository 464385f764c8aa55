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
import type { UpstreamResponse, RequestContext } from './transport.ts';
import type { FetchedManifest, Resolution } from './upstream.ts';

const OP_RESOLVE = 'resolve';
const OP_READ = 'read manifest';

/**
 * Resolves the tag at this host. HEAD is tried first, because it does not count as a pull at Docker Hub. Unless it answers 200
 * with a digest, or 429, GET decides; a 404 of a mirror is final. If HEAD gives a SHA-512, the manifest is fetched at
 * once to check it: few registries serve manifests by SHA-512.
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
  // A Retry-After above the limit is skipped here; GET fails with it again if it still holds.
  if (hint !== undefined) {
    const { retryAfterMs = 0 } = hint;
    await sleep(backoffMs(1) + (retryAfterMs > limits.retryAfterMaxMs ? 0 : retryAfterMs), context.signal);
  }
  // The failed HEAD counts as a try.
  const attempts = hint === undefined ? limits.attempts : Math.max(1, limits.attempts - 1);
  return { checkedMs, ...(await getTag(session, path, tag, context, attempts)) };
}

const isEmpty = (content: Index | Manifest): boolean =>
  content.kind === 'index' ? content.entries.length === 0 : namedBlobs(content).length === 0;

const withDigest = (manifest: FetchedManifest, digest: Digest): FetchedManifest => ({
  ...manifest,
  descriptor: { ...manifest.descriptor, digest },
});

/** Resolves the tag at this host by GET. */
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
  // Without a known digest, an empty manifest does not show that the mirror answered correctly.
  if (session.isMirror && isEmpty(parseManifest(manifest.bytes, manifest.descriptor.mediaType, { fanOut: Infinity })))
    throw new InvalidManifestError(`a mirror sent an empty manifest for ${path} ${tag}`);
  const { descriptor, bytes } = manifest;
  return { digest: descriptor.digest, manifest: { descriptor, bytes } };
}

/** The digest; a transient error of host or connection; or undefined if HEAD gives no usable answer. */
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
        // Thrown, so that the mirror is skipped for a while.
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
    // GET may be answered without this redirect.
    if (error instanceof NotFollowedError) return undefined;
    throw error;
  }
}

const isPage = (headers: UpstreamResponse['headers']): boolean =>
  mediaTypeOf(single(headers['content-type'])) === 'text/html';

/** The manifest by digest, verified. Fetched once more if the bytes are wrong. */
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
    `manifest ${digest} of ${path} was requested, but ${found.from} twice sent other bytes, last ${found.descriptor.size} with digest ${found.descriptor.digest}; nothing was stored`,
  );
}

/** With the sender, for messages. */
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

/** What was requested. */
interface Asked {
  readonly op: string;
  readonly name: string;
  readonly wanted: Digest | undefined;
}

async function readAnswer(
  answer: UpstreamResponse,
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
    // Wrong bytes for a digest are fetched once more; an HTML page is not.
    if (isPage || (wanted === undefined && (typeof document !== 'object' || document === null))) {
      const type = mediaType || 'no content type';
      const words = isPage ? htmlWords(text) : `${type}: ${clean(text) || 'nothing'}`;
      throw new UpstreamRefusedError(
        op,
        `${from} answered 200 with ${words} instead of a manifest: something other than a registry answers there; check "endpoint" and "proxy" of the registry`,
      );
    }
  }
  if (wanted === undefined) requireManifest(content, mediaType, from);
  return { descriptor: { mediaType, digest, size: content.byteLength }, bytes: content };
}

/** Checks a manifest of unknown digest. The error names the sender. */
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
 * The bytes as the registry stores them. `Content-Encoding` may be only a label of the storage: the digest decides, or, without
 * one, whether the bytes are JSON.
 */
async function uncoded(
  answer: UpstreamResponse,
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
    `manifest ${name} came compressed (content-encoding ${JSON.stringify(encoding.slice(0, 40))}) although we requested it uncompressed, and cannot be decompressed`,
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
  answer: UpstreamResponse,
): Promise<ManifestUnknownError> {
  const words = await registryWords(answer);
  return new ManifestUnknownError(
    `${answer.server} has no manifest ${JSON.stringify(reference)} in ${path}${words}; check the name and the tag`,
  );
}
