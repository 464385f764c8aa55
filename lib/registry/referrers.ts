import { ManifestUnknownError, UpstreamRefusedError } from '../errors/cache-error.ts';
import { hexOf, type Digest } from '../oci/digest.ts';
import { OCI_INDEX } from '../oci/media-type.ts';
import { discard, readBounded } from './body.ts';
import { connectionFailure, single } from './failure.ts';
import { readManifest, resolveTag } from './manifests.ts';
import type { Session } from './session.ts';
import { shown, type Caller } from './transport.ts';

const OP = 'read referrers';

/**
 * What refers to the manifest, as an image index: by the referrers API, or where the registry has none by the tag schema.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
 *
 * Undefined where nothing does. One page: registries that split the list into pages give the rest to whoever asks them.
 */
export async function readReferrers(
  session: Session,
  path: string,
  digest: Digest,
  caller: Caller,
): Promise<Uint8Array | undefined> {
  const request = {
    op: OP,
    kind: 'referrers',
    method: 'GET',
    path,
    reference: digest,
    headers: { accept: OCI_INDEX },
    accepts: [200, 400, 404, 405],
    follow: true,
  } as const;
  const listed = await session.ask(request, caller, async (answer) => {
    const type = single(answer.headers['content-type'])?.split(';')[0]?.trim().toLowerCase();
    if (answer.status !== 200 || type !== OCI_INDEX) {
      await discard(answer.body);
      return undefined;
    }
    const { bytes, truncated } = await readBounded(answer.body, session.limits.manifestBytes).catch(
      (error: unknown) => {
        caller.signal.throwIfAborted();
        throw connectionFailure(OP, shown(answer.url), error);
      },
    );
    if (!truncated) return bytes;
    throw new UpstreamRefusedError(
      OP,
      `the referrers of ${digest} in ${path} are more than ${session.limits.manifestBytes} bytes ("manifestBytes" of "limits")`,
    );
  });
  return listed ?? (await readByTagSchema(session, path, digest, caller));
}

/** `sha256-<hex>`: an index that clients of registries without the API keep. */
async function readByTagSchema(
  session: Session,
  path: string,
  digest: Digest,
  caller: Caller,
): Promise<Uint8Array | undefined> {
  try {
    const { digest: index, manifest } = await resolveTag(session, path, `sha256-${hexOf(digest)}`, caller);
    return (manifest ?? (await readManifest(session, path, index, caller))).bytes;
  } catch (error) {
    if (error instanceof ManifestUnknownError) return undefined;
    throw error;
  }
}
