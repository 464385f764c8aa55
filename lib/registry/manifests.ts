import { ContentMismatchError, InvalidManifestError, ManifestUnknownError } from '../errors/cache-error.ts';
import { digestOf, isDigest, type Digest } from '../oci/digest.ts';
import { isSchema1Type, MANIFEST_ACCEPT } from '../oci/media-type.ts';
import { discard, readBounded } from './body.ts';
import { connectionFailure, registryWords, single } from './failure.ts';
import type { Session } from './session.ts';
import { shown, type Answer, type Caller } from './transport.ts';
import type { FetchedManifest, Resolution } from './upstream.ts';

const OP_RESOLVE = 'resolve';
const OP_READ = 'read manifest';

/** What the tag means at this host: HEAD, and GET where HEAD is refused or names no digest that we keep. */
export async function resolveTag(session: Session, path: string, tag: string, caller: Caller): Promise<Resolution> {
  const checkedMs = Date.now();
  const request = {
    op: OP_RESOLVE,
    kind: 'manifest',
    method: 'HEAD',
    path,
    reference: tag,
    headers: { accept: MANIFEST_ACCEPT },
    accepts: [200, 404, 405, 501],
    follow: true,
  } as const;
  const digest = await session.ask(request, caller, async (answer) => {
    if (answer.status === 404) throw await unknownManifest(OP_RESOLVE, path, tag, answer);
    await discard(answer.body);
    const told = single(answer.headers['docker-content-digest']) ?? '';
    return answer.status === 200 && isDigest(told) ? told : undefined;
  });
  if (digest !== undefined) return { digest, checkedMs };
  const manifest = await getManifest(session, OP_RESOLVE, path, tag, caller);
  return { digest: manifest.descriptor.digest, checkedMs, manifest };
}

/** The manifest by digest, verified; fetched a second time if the bytes are wrong. */
export async function readManifest(
  session: Session,
  path: string,
  digest: Digest,
  caller: Caller,
): Promise<FetchedManifest> {
  let found = await getManifest(session, OP_READ, path, digest, caller);
  if (found.descriptor.digest !== digest) found = await getManifest(session, OP_READ, path, digest, caller);
  if (found.descriptor.digest === digest) return found;
  throw new ContentMismatchError(
    OP_READ,
    `manifest ${digest} of ${path} was asked for, but the ${found.descriptor.size} bytes that came have digest ${found.descriptor.digest}, twice; nothing of it was kept`,
  );
}

async function getManifest(
  session: Session,
  op: string,
  path: string,
  reference: string,
  caller: Caller,
): Promise<FetchedManifest> {
  const request = {
    op,
    kind: 'manifest',
    method: 'GET',
    path,
    reference,
    headers: { accept: MANIFEST_ACCEPT },
    accepts: [200, 404],
    follow: true,
  } as const;
  return await session.ask(request, caller, async (answer) => {
    if (answer.status === 404) throw await unknownManifest(op, path, reference, answer);
    try {
      return await readAnswer(answer, op, `${path} ${reference}`, session.limits.manifestBytes, caller.signal);
    } finally {
      answer.body.destroy();
    }
  });
}

async function readAnswer(
  answer: Answer,
  op: string,
  what: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const mediaType = mediaTypeOf(single(answer.headers['content-type']));
  if (isSchema1Type(mediaType)) {
    throw new InvalidManifestError(
      `manifest ${what} is of Docker schema 1, which has no descriptors to verify blobs by; push the image again with a current client (schema 2 or OCI)`,
    );
  }
  const encoding = single(answer.headers['content-encoding']) ?? 'identity';
  if (encoding !== 'identity') {
    throw new InvalidManifestError(
      `manifest ${what} came with content-encoding ${JSON.stringify(encoding.slice(0, 40))}, though we asked for none`,
    );
  }
  const told = Number(single(answer.headers['content-length']) ?? '0');
  if (told > maxBytes) throw tooLarge(what, `${told} bytes`, maxBytes);
  const { bytes, truncated } = await readBounded(answer.body, maxBytes).catch((error: unknown) => {
    signal.throwIfAborted();
    throw connectionFailure(op, shown(answer.url), error);
  });
  if (truncated) throw tooLarge(what, `more than ${maxBytes} bytes`, maxBytes);
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength }, bytes };
}

const mediaTypeOf = (contentType: string | undefined): string =>
  (contentType ?? '').replace(/;.*$/s, '').trim().toLowerCase();

const tooLarge = (what: string, size: string, maxBytes: number): InvalidManifestError =>
  new InvalidManifestError(
    `manifest ${what} has ${size}, the limit is ${maxBytes}; raise "manifestBytes" of "limits" if it is meant to be that large`,
  );

async function unknownManifest(
  op: string,
  path: string,
  reference: string,
  answer: Answer,
): Promise<ManifestUnknownError> {
  const words = await registryWords(answer);
  return new ManifestUnknownError(
    `${op}: ${answer.url.host} has no manifest ${JSON.stringify(reference)} in ${path}${words}; check the name and the tag`,
  );
}
