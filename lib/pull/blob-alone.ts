import type { Links } from '../catalog/ports.ts';
import { BlobSizeError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { OCTET_STREAM } from '../oci/media-type.ts';
import { formatReference, type Repository } from '../reference/reference.ts';
import { copier } from './copier.ts';
import type { HeldPull, Preparation } from './prepare.ts';
import type { PullLimits, PullRequest } from './pull-request.ts';
import type { ReceiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';

/** The digest, if the request is for a blob alone. */
export const blobAlone = ({ reference: { digest }, blob }: PullRequest): Digest | undefined =>
  blob === undefined ? undefined : digest;

/** The receipt, if the blob is in the cache and the repository may serve it. One read of the catalogue. */
export async function findBlobHit(
  { catalog }: { readonly catalog: Links },
  repository: Repository,
  digest: Digest,
  draft: ReceiptDraft,
  signal: AbortSignal,
): Promise<Receipt | undefined> {
  const { link, blob: row } = await catalog.findContent(repository, digest, { consistent: true, signal });
  if (link === undefined || row?.state !== 'present' || row.size === undefined) return undefined;
  const blob = { mediaType: OCTET_STREAM, digest, size: row.size };
  noteWanted(blob, draft);
  draft.blob(blob, 'present');
  return draft.finish('hit');
}

/**
 * The first step of the pull of a blob alone: reads no manifest and resolves nothing. @throws
 * BlobUnknownError, BlobSizeError, …
 */
export async function prepareBlob(pull: HeldPull, digest: Digest): Promise<Preparation> {
  const { deps, upstream, request, draft, signal } = pull;
  const { repository } = request.reference;
  const hit = await findBlobHit(deps, repository, digest, draft, signal);
  if (hit !== undefined) return { receipt: hit };
  const size = request.blob?.size ?? (await upstream.sizeOfBlob(digest, signal));
  requireBlobBytes(deps.limits, repository, digest, size);
  const blob = { mediaType: OCTET_STREAM, digest, size };
  noteWanted(blob, draft);
  const missing = await copier(deps, upstream, draft, signal).find([blob]);
  deps.progress?.planned?.([blob], missing);
  const nothing = { manifests: [], entries: [], contents: new Map(), optional: [], foreign: [], skipped: [] };
  const content = { ...nothing, blobs: [blob] };
  const { domain } = upstream;
  return { prepared: { domain, content, manifests: [], missing, covered: { entries: [] }, unchanged: false } };
}

/** @throws BlobSizeError if the blob is larger than one pull may be. */
export function requireBlobBytes(
  { totalBytes: limit }: Pick<PullLimits, 'totalBytes'>,
  repository: Repository,
  digest: Digest,
  size: number,
): void {
  if (size <= limit) return;
  const name = formatReference({ repository, digest });
  throw new BlobSizeError(`${name} has ${size} bytes, the limit is ${limit} (limits.totalBytes in the configuration)`);
}

function noteWanted(blob: Descriptor, draft: ReceiptDraft): void {
  draft.resolved(blob);
  draft.planned({ blobs: [blob], selected: [], skipped: [] });
}
