import assert from 'node:assert/strict';
import { algorithmOf, hexOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX } from '../../../lib/oci/media-type.ts';
import type { Image } from '../../support/images.ts';

/** Where an image is pushed to. */
export interface PushTarget {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  readonly repository: string;
  /** The value of the header, where the registry wants one. */
  readonly authorization?: string;
}

/** An answer to a push that is not 201: by its own rules the registry does not take this content. */
export class PushRefused extends Error {}

const REQUEST_TIMEOUT_MS = 30_000;
const WORDS = 300;

/**
 * Pushes the image by the distribution API alone, byte for byte: blobs, then manifests, children first. `reference` is a tag, or the digest of the root. Clients
 * recompress, rewrite or refuse what is unusual; this does not.
 *
 * @throws PushRefused with the registry's words.
 */
export async function pushPlain(image: Image, target: PushTarget, reference: string): Promise<void> {
  for (const [digest, bytes] of image.blobs) {
    const algorithm = algorithmOf(digest);
    const query = algorithm === 'sha256' ? '' : `?digest-algorithm=${algorithm}`;
    const { location } = await call(target, 'POST', `blobs/uploads/${query}`, 202);
    location.searchParams.set('digest', digest);
    await call(target, 'PUT', location, 201, { bytes, mediaType: 'application/octet-stream' });
  }
  for (const [digest, { bytes, mediaType }] of image.manifests) {
    const name = digest === image.root.digest ? reference : digest;
    await call(target, 'PUT', `manifests/${name}`, 201, { bytes, mediaType });
  }
}

/**
 * Makes the artifact known as one that refers to the subject, after both were pushed: a registry with the referrers API does so itself, any other is given the
 * tag that stands for it. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
 */
export async function makeReferrer(
  { root }: Image,
  artifactType: string,
  subject: Image,
  target: PushTarget,
): Promise<'referrers API' | 'tag schema'> {
  const list = await request(target, 'GET', `referrers/${subject.root.digest}`);
  if (list.status === 200) return 'referrers API';
  assert.equal(list.status, 404);
  const { mediaType, digest, size } = root;
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ mediaType, digest, size, artifactType }] };
  const tag = `manifests/sha256-${hexOf(subject.root.digest)}`;
  await call(target, 'PUT', tag, 201, { bytes: Buffer.from(JSON.stringify(index)), mediaType: OCI_INDEX });
  return 'tag schema';
}

interface Content {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

interface Answer {
  readonly status: number;
  /** Where an upload goes on. */
  readonly location: URL;
  readonly text: string;
}

async function call(
  target: PushTarget,
  method: string,
  path: string | URL,
  wanted: number,
  content?: Content,
): Promise<Answer> {
  const answer = await request(target, method, path, content);
  if (answer.status === wanted) return answer;
  const words = answer.text.trim().slice(0, WORDS);
  throw new PushRefused(`${method} ${String(path)} of ${target.repository}: ${answer.status} ${words}`);
}

async function request(target: PushTarget, method: string, path: string | URL, content?: Content): Promise<Answer> {
  const url = new URL(path, `${target.origin}/v2/${target.repository}/`);
  const { authorization } = target;
  const answer = await fetch(url, {
    method,
    headers: {
      ...(content === undefined ? {} : { 'content-type': content.mediaType }),
      ...(authorization === undefined ? {} : { authorization }),
    },
    body: content === undefined ? null : Buffer.from(content.bytes),
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  const location = new URL(answer.headers.get('location') ?? '', url);
  return { status: answer.status, location, text: await answer.text() };
}
