import type { BlobRow } from '../catalog/catalog.ts';
import { sleep } from '../clock/sleep.ts';
import { BlobUnknownError, DeadlineError, FailedElsewhereError } from '../errors/cache-error.ts';
import type { PullFailure, PullRecord } from '../fill/pull-record.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import { startFillOf } from './fill.ts';
import { locationOf, sendsOn } from './location.ts';
import { linksThatNeed } from './needed-by.ts';
import type { ServeCall } from './serve-deps.ts';
import { contentKey, type Serving } from './serving.ts';
import { readBytes } from './stored-manifest.ts';

/** A blob that is there, and that the repository may serve. */
export interface ServedBlob {
  readonly digest: Digest;
  readonly size: number;
}

const FIRST_LOOK_MS = 200;
const LOOKS_GROW_BY = 1.5;
const MOST_BETWEEN_LOOKS_MS = 1_000;
/** Manifests of the repository that are looked at for one blob. */
const MOST_CHILDREN = 20;
/** Of a blob that was linked without a manifest that names it: nobody reads it. */
export const BLOB_TYPE = 'application/octet-stream';

/** The blob, if it is there and this repository may serve it: one read of the catalogue. */
export async function findBlob(
  { deps, share }: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedBlob | undefined> {
  const { link, blob } = await share(`blob ${contentKey(repository, digest)}`, signal, (shared) =>
    deps.catalog.findContent(repository, digest, { consistent: false, signal: shared }),
  );
  return link !== undefined && isPresent(blob) ? { digest, size: blob.size } : undefined;
}

const isPresent = (blob: BlobRow | undefined): blob is BlobRow & { readonly size: number } =>
  blob?.state === 'present' && blob.size !== undefined;

/** The size of a blob that a manifest of this repository names, whether or not it is there yet. @throws BlobUnknownError if none does */
export async function describeBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<ServedBlob> {
  const found = await findBlob(state, call, repository, digest);
  if (found !== undefined) return found;
  for (const child of await childrenOf(state, call, repository, digest)) {
    const blob = await blobIn(state, child, digest, call.signal);
    if (blob !== undefined) return { digest, size: blob.size };
  }
  throw unknownBlob(repository, digest);
}

async function blobIn(
  state: Serving,
  manifest: Descriptor,
  digest: Digest,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const bytes = await readBytes(state, manifest, signal);
  const content = bytes && parseManifest(bytes, manifest.mediaType, state.deps.limits);
  return content?.kind === 'manifest' ? blobsOf(content).find((blob) => blob.digest === digest) : undefined;
}

/**
 * The blob as soon as it has landed; or a URL where the client may get it meanwhile, which is told to those `mayGo` alone (`serve.onBlobMiss`); or undefined when
 * the time of this call is over and it is still on its way. One fill brings it for all who ask, has begun before anybody is sent on, and goes on when one of
 * them leaves.
 *
 * @throws BlobUnknownError if no manifest of this repository names it; BusyError if too many wait already; FailedElsewhereError if it does not come.
 */
export async function bringBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  { mayGo }: { readonly mayGo: boolean },
): Promise<ServedBlob | URL | undefined> {
  const children = await childrenOf(state, call, repository, digest);
  const [child] = children;
  if (child === undefined) throw unknownBlob(repository, digest);
  const look = looksFor(state, call, repository, digest, child);
  try {
    if (mayGo && sendsOn(state, repository)) {
      const elsewhere = (await look()) ?? (await locationOf(state, call, repository, digest));
      if (elsewhere !== undefined) return elsewhere;
    }
    await using _seat = await state.deps.waitingRoom.enter(call);
    return await comeIn(look, call);
  } catch (error) {
    if (call.signal.aborted && call.signal.reason instanceof DeadlineError) return undefined;
    throw error;
  }
}

/** The waiting room: one look after the other until the blob has landed. */
async function comeIn(look: () => Promise<ServedBlob | undefined>, { signal }: ServeCall): Promise<ServedBlob> {
  for (let delayMs = 0; ; delayMs = nextDelayMs(delayMs)) {
    if (delayMs > 0) await sleep(delayMs, signal);
    const blob = await look();
    if (blob !== undefined) return blob;
  }
}

/** Each look says whether the blob has landed, and makes sure of a fill that brings it. */
function looksFor(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  child: Descriptor,
): () => Promise<ServedBlob | undefined> {
  const { signal } = call;
  let fill: PullRecord | undefined;
  let fills = 0;
  let mayConfirm = true;
  return async () => {
    const key = `come in ${String(mayConfirm)} ${contentKey(repository, digest)}`;
    const blob = await state.share(key, signal, (shared) =>
      admit(state, { ...call, signal: shared }, repository, digest, mayConfirm),
    );
    if (blob === 'unconfirmed') mayConfirm = false;
    else if (blob !== undefined) return blob;
    const seen = fill === undefined ? undefined : await findRecord(state, fill.id, signal);
    if (seen?.failure !== undefined) throw badlyFilled(digest, seen.failure);
    if (seen === undefined || seen.state === 'succeeded') {
      // One that succeeded without it found it present, and it was lost since: once more, and then it is somebody's fault.
      if (++fills > 2) throw badlyFilled(digest, undefined);
      fill = await startFillOf(state, repository, child.digest, signal);
    }
    return undefined;
  };
}

const findRecord = ({ deps, share }: Serving, id: string, signal: AbortSignal): Promise<PullRecord | undefined> =>
  share(`record ${id}`, signal, (shared) => deps.records.find(id, shared));

const nextDelayMs = (delayMs: number): number =>
  delayMs === 0 ? FIRST_LOOK_MS : Math.min(delayMs * LOOKS_GROW_BY, MOST_BETWEEN_LOOKS_MS);

/** The blob, if it has landed: linked to this repository as soon as it may be, before the whole image has (I9). */
async function admit(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
  mayConfirm: boolean,
): Promise<ServedBlob | 'unconfirmed' | undefined> {
  const { catalog } = state.deps;
  const { signal } = call;
  const { link, blob } = await catalog.findContent(repository, digest, { consistent: true, signal });
  if (!isPresent(blob) || (link === undefined && !mayConfirm)) return undefined;
  const { size } = blob;
  if (link === undefined && blob.domains.has(PUBLIC)) {
    await catalog.linkEarly(repository, { mediaType: BLOB_TYPE, digest, size }, signal);
  } else if (link === undefined) {
    const confirmed = await state.ask(repository, (landing) => landing.confirm(call, repository, digest));
    // The fill fetches it as proof, and its publish links it: the registry is not asked again and again.
    if (!confirmed) return 'unconfirmed';
  }
  return { digest, size };
}

/** Manifests of this repository that need the blob. */
async function childrenOf(
  { deps: { catalog }, share }: Serving,
  { signal }: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<readonly Descriptor[]> {
  const links = await share(`children ${contentKey(repository, digest)}`, signal, (shared) =>
    linksThatNeed(catalog, repository, digest, shared),
  );
  return links.filter(({ mediaType }) => !isIndexType(mediaType)).slice(0, MOST_CHILDREN);
}

const unknownBlob = (repository: Repository, digest: Digest): BlobUnknownError =>
  new BlobUnknownError(
    `no manifest that ${formatRepository(repository)} serves names blob ${digest}; ask for the manifest first`,
  );

const badlyFilled = (digest: Digest, failure: PullFailure | undefined): FailedElsewhereError =>
  new FailedElsewhereError(
    'wait for blob',
    `the pull that should bring blob ${digest} ended without it: ${failure?.message ?? 'it was lost again meanwhile'}`,
    failure,
  );
