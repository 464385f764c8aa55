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

/** The digest of a blob that is wanted by itself, if one is. */
export const blobAlone = ({ reference: { digest }, blob }: PullRequest): Digest | undefined =>
  blob === undefined ? undefined : digest;

/** The receipt of a blob that is there and that the repository may serve: there is no more to it. One read of the catalogue. */
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
  wantedIs(blob, draft);
  draft.blob(blob, 'present');
  return draft.finish('hit');
}

/** The first step of the pull of a blob alone: no manifest has to be read, and nothing is resolved. @throws BlobUnknownError, BlobSizeError, … */
export async function prepareBlob(pull: HeldPull, digest: Digest): Promise<Preparation> {
  const { deps, upstream, request, draft, signal } = pull;
  const { repository } = request.reference;
  const hit = await findBlobHit(deps, repository, digest, draft, signal);
  if (hit !== undefined) return { receipt: hit };
  const size = request.blob?.size ?? (await upstream.sizeOfBlob(digest, signal));
  requireBlobBytes(deps.limits, repository, digest, size);
  const blob = { mediaType: OCTET_STREAM, digest, size };
  wantedIs(blob, draft);
  const missing = await copier(deps, upstream, draft, signal).find([blob]);
  deps.progress?.planned?.([blob], missing);
  const nothing = { manifests: [], entries: [], contents: new Map(), optional: [], foreign: [], skipped: [] };
  const content = { ...nothing, blobs: [blob] };
  const { domain } = upstream;
  return { prepared: { domain, content, manifests: [], missing, covered: { entries: [] }, unchanged: false } };
}

/** @throws BlobSizeError if the blob has more bytes than one pull may bring. */
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

function wantedIs(blob: Descriptor, draft: ReceiptDraft): void {
  draft.resolved(blob);
  draft.planned({ blobs: [blob], selected: [], skipped: [] });
}
