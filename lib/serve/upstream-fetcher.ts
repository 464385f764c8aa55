import {
  InvalidManifestError,
  LeaseLostError,
  ManifestUnknownError,
  UpstreamRefusedError,
} from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import { acquire } from '../lock/lease.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import { namedBlobs } from '../oci/manifest.ts';
import { isIndexType, OCI_INDEX, OCTET_STREAM } from '../oci/media-type.ts';
import { NO_REFERRERS_DIGEST } from '../oci/referrers.ts';
import { requireBlobBytes } from '../pull/blob-alone.ts';
import { mayUse } from '../pull/presence.ts';
import { storeManifests } from '../pull/publish.ts';
import type { PullDeps } from '../pull/pull-request.ts';
import { type HeldManifest, readManifest } from '../pull/read-manifest.ts';
import { reconcile } from '../pull/reconcile.ts';
import { resolveRoot } from '../pull/resolve.ts';
import { formatReference, formatRepository, type Repository } from '../reference/reference.ts';
import type { Upstream } from '../registry/upstream.ts';
import { pullLeaseName } from '../table/keys.ts';
import { countedUpstreams } from '../telemetry/counted-upstreams.ts';
import { type StoredManifest, type StoredReferrers, type Fetcher, referrersReference } from './fetcher.ts';
import { linksThatNeed } from './needed-by.ts';
import type { ServeCall } from './serving.ts';

const EVERYTHING = { platforms: [], explicit: false, attestations: true };

/** Asks the registries from this process, and counts what that took. */
export function upstreamFetcher(deps: PullDeps): Fetcher {
  const ask = async <T>(
    { metrics, signal }: ServeCall,
    repository: Repository,
    question: (upstream: Upstream) => Promise<T>,
  ): Promise<T> => {
    const upstreams = countedUpstreams(deps.upstreams, metrics);
    try {
      return await question(await upstreams.open(repository, signal));
    } finally {
      upstreams.report();
    }
  };
  return {
    resolve: (call, reference, lock, resolutions) =>
      ask(call, reference.repository, async (upstream) => {
        const { signal } = call;
        const request = { reference, platforms: [], alwaysPull: true, attestations: true };
        const pointer = resolutions === undefined ? undefined : { resolutions, generation: 0 };
        const before = pointer === undefined ? {} : { pointer };
        const resolved = await resolveRoot(deps, upstream, request, before, EVERYTHING, lock, signal).catch(
          async (error: unknown) => {
            if (error instanceof ManifestUnknownError) {
              await deps.catalog.recordMissing(reference, Date.now(), lock, signal);
            }
            throw error;
          },
        );
        const { checkedMs, known, manifest } = resolved;
        if (known !== undefined) return { digest: known.root.digest, checkedMs };
        const landed = await storeOne(deps, upstream, manifest, reference.tag, signal);
        return { digest: landed.descriptor.digest, checkedMs, landed };
      }),

    fetchManifest: (call, repository, digest) =>
      ask(call, repository, async (upstream) => {
        const held = await readByDigest(deps, upstream, digest, call.signal);
        return await storeOne(deps, upstream, held, undefined, call.signal);
      }),

    fetchReferrers: (call, repository, subject, resolutions, lock) =>
      ask(call, repository, async (upstream) => {
        const landed = await storeReferrers(deps, upstream, subject, call.signal);
        await recordReferrers(deps, repository, subject, landed, { resolutions, lock, signal: call.signal });
        return landed;
      }),

    listTags: (call, repository) => ask(call, repository, (upstream) => upstream.listTags(call.signal)),

    async confirm(call, repository, digest) {
      const { signal } = call;
      const blob = (await deps.catalog.findBlobs([digest], signal)).get(digest);
      if (blob?.state !== 'present' || blob.size === undefined) return false;
      const descriptor = { mediaType: OCTET_STREAM, digest, size: blob.size };
      const allowed = await ask(call, repository, (upstream) => mayUse(blob, descriptor, upstream, signal));
      if (allowed) await deps.catalog.linkEarly(repository, descriptor, signal);
      return allowed;
    },

    sizeOfBlob: (call, repository, digest) =>
      ask(call, repository, async (upstream) => {
        const size = await upstream.sizeOfBlob(digest, call.signal);
        requireBlobBytes(deps.limits, repository, digest, size);
        return size;
      }),

    async findRedirect(call, repository, digest) {
      try {
        return await ask(call, repository, (upstream) => upstream.findRedirect(digest, call.signal));
      } catch (error) {
        if (!(error instanceof UpstreamRefusedError)) throw error;
        const where = { repository: formatRepository(repository), digest };
        call.logger.info('a client is not redirected for a blob', { ...where, reason: error.message });
        return undefined;
      }
    },

    async markLost({ signal }, digest) {
      return (await reconcile(deps, [{ digest }], { adopt: false, signal })).get(digest);
    },
  };
}

/**
 * Stores a manifest or index that was read from the repository, records which content it needs, so that a later request for a blob leads back to it, and then
 * lets the repository serve it. Its content is not stored yet. Idempotent.
 */
async function storeOne(
  deps: PullDeps,
  upstream: Upstream,
  held: HeldManifest,
  via: string | undefined,
  signal: AbortSignal,
): Promise<StoredManifest> {
  const { descriptor, bytes, content } = held;
  await storeManifests(deps, upstream, [held], signal);
  await deps.catalog.writeNeeds(upstream.repository, neededFor(held), descriptor.digest, signal);
  const named = content.kind === 'index' && via !== undefined ? { via } : {};
  // A manifest of an unknown type needs no other content.
  const landed = content.kind === 'manifest' && content.opaque === true ? { landed: true } : {};
  await deps.catalog.linkEarly(upstream.repository, { ...descriptor, ...named, ...landed }, signal);
  return { descriptor, bytes };
}

/** From the registry; where it has no such manifest, from an index of the repository that carries it inline. */
async function readByDigest(
  deps: PullDeps,
  upstream: Upstream,
  digest: Digest,
  signal: AbortSignal,
): Promise<HeldManifest> {
  try {
    return await readManifest(deps, upstream, { digest, anyType: true }, signal);
  } catch (error) {
    if (!(error instanceof ManifestUnknownError)) throw error;
    for (const link of await linksThatNeed(deps.catalog, upstream.repository, digest, signal)) {
      if (!isIndexType(link.mediaType)) continue;
      const { content } = await readManifest(deps, upstream, { digest: link.digest, linked: link }, signal);
      const parent = content.kind === 'index' && content.entries.find((entry) => entry.digest === digest);
      const inline = content.inline?.get(digest);
      if (parent && inline)
        return await readManifest(deps, upstream, { digest, parent, inline, anyType: true }, signal);
    }
    throw error;
  }
}

/** The blobs of a manifest, also foreign layers; the readable entries of an index. */
const neededFor = ({ content }: HeldManifest): Digest[] =>
  (content.kind === 'manifest' ? namedBlobs(content) : content.entries.filter(({ fault }) => fault === undefined)).map(
    ({ digest }) => digest,
  );

/** The list is stored like any other content: an index that we write, with the descriptors that the specification defines. */
async function storeReferrers(
  deps: PullDeps,
  upstream: Upstream,
  subject: Digest,
  signal: AbortSignal,
): Promise<StoredReferrers> {
  const { repository } = upstream;
  const checkedMs = Date.now();
  const index = await upstream.listReferrers(subject, signal);
  if (index.manifests.length === 0) return { checkedMs };
  const bytes = Buffer.from(JSON.stringify(index));
  if (bytes.byteLength > deps.limits.manifestBytes) {
    // Readers of the list have this limit, too.
    throw new InvalidManifestError(
      `what refers to ${subject} has ${bytes.byteLength} bytes as we write it, the limit is ${deps.limits.manifestBytes} (limits.manifestBytes in the configuration)`,
    );
  }
  const descriptor = { mediaType: OCI_INDEX, digest: digestOf(bytes), size: bytes.byteLength };
  await storeManifests(
    deps,
    upstream,
    [{ descriptor, bytes, content: { kind: 'index', mediaType: OCI_INDEX, entries: [] }, stored: false }],
    signal,
  );
  await deps.catalog.linkEarly(repository, descriptor, signal);
  return { checkedMs, list: { descriptor, bytes } };
}

/** Without a lock and without referrers nothing is recorded: clients could fill the table with random digests. */
async function recordReferrers(
  deps: PullDeps,
  repository: Repository,
  subject: Digest,
  { checkedMs, list }: StoredReferrers,
  { resolutions, lock, signal }: RecordOptions,
): Promise<void> {
  const reference = referrersReference(repository, subject);
  if (lock === undefined) {
    if (list === undefined) return;
    await using own = await acquire(deps.leases, pullLeaseName(reference), signal);
    const held = { resolutions, lock: own, signal: AbortSignal.any([signal, own.signal]) };
    await recordReferrers(deps, repository, subject, { checkedMs, list }, held);
    return;
  }
  const resolved = list?.descriptor.digest ?? NO_REFERRERS_DIGEST;
  const pointer = { generation: 0, ...(resolutions === undefined ? {} : { resolutions }) };
  const recorded = await deps.catalog.recordResolution(reference, { resolved, checkedMs, pointer }, lock, signal);
  if (recorded !== undefined) return;
  throw new LeaseLostError(
    'list referrers',
    `${formatReference(reference)}: another list was recorded meanwhile; ask again in a moment`,
  );
}

interface RecordOptions {
  readonly resolutions: number | undefined;
  readonly lock: Fence | undefined;
  readonly signal: AbortSignal;
}
