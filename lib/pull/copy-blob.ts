import type { BlobRow } from '../catalog/catalog.ts';
import type { Blobs } from '../catalog/ports.ts';
import { blobLeaseName } from '../table/keys.ts';
import { sleep, withGrace } from '../async/time.ts';
import {
  BlobsFailedError,
  BlobUnknownError,
  CatalogError,
  ContentMismatchError,
  InvalidManifestError,
  SlowBlobError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
  type BlobFailure,
  type CacheError,
} from '../errors/cache-error.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { StoredContent } from '../store/content-store.ts';
import type { BlobSource } from './read-manifest.ts';
import { drainBlob, ingestBlob, type ClaimedBlob } from './ingest-blob.ts';
import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import { checkSize, mayUse } from './presence.ts';
import type { PullDeps } from './pull-request.ts';

/** Which pull brought a missing blob: this one, or another. */
export type CopyOutcome = 'copied' | 'copiedElsewhere';

/** Time to write the row of a blob that was finished when the pull was stopped. */
const COMMIT_GRACE_MS = 4_000;
/** From this size on, a HEAD is cheap compared with a fetch that turns out to be needless. */
const LARGE_BYTES = 8 * 1024 * 1024;
/**
 * Retryable failures in a row, without a success in between, after which the registry counts as down and no
 * other blob is tried.
 */
const MOST_UNAVAILABLE = 8;
/** Tries to commit a blob whose row others keep writing. */
const ROUNDS = 10;
const FIRST_POLL_MS = 50;
const MOST_BETWEEN_POLLS_MS = 1_000;
/**
 * A slow try that brought this much is repeated with the same time. After less, each try gets more time, so
 * that it ends at last.
 */
const PROGRESS_BYTES = 8 * 1024 * 1024;
/**
 * Slow tries in a row that brought less than that, after which the blob fails: half an hour in all. Other
 * blobs get permits in between.
 */
const MOST_SLOW = 5;
/** Longer than a waiter takes to see that the claim is free. */
const SLOW_REST_MS = 2_000;

/**
 * Brings every blob of `missing` into the cache, each once among all pulls of all processes (I4). The pull
 * that gets the claim copies. The others wait without holding a permit, and take over when the copier dies.
 * The rows of all blobs that this pull waits for are read together, about once a second.
 *
 * A blob that fails does not stop the others. For an `optional` blob, 404 is a result: `absent`. `done` is
 * called for each blob as it becomes present, so that a call that fails or is stopped has still reported what
 * is kept.
 *
 * @throws BlobsFailedError, which names each blob that failed; any other error at once, if it is not about
 * one blob.
 */
export async function copyMissing(
  deps: PullDeps,
  upstream: BlobSource,
  missing: readonly Descriptor[],
  signal: AbortSignal,
  done: (blob: Descriptor, outcome: CopyOutcome | 'absent') => void,
  optional: ReadonlySet<Digest> = new Set(),
): Promise<void> {
  const permits = newPermits(deps.limits.parallelBlobs);
  const poller = blobPoller(deps.catalog);
  const failures: BlobFailure[] = [];
  let unavailable = 0;
  await allOrFirstFailure(missing, signal, async (blob, stop) => {
    try {
      const outcome = await bring(blob, stop);
      unavailable = 0;
      done(blob, outcome);
      deps.progress?.finished?.(blob, outcome === 'copied' ? 'us' : 'another pull');
    } catch (error) {
      if (stop.aborted || !isOfBlob(error)) throw error;
      if (error instanceof BlobUnknownError && optional.has(blob.digest)) {
        done(blob, 'absent');
        return;
      }
      if (error.retryable && ++unavailable > MOST_UNAVAILABLE) throw error;
      failures.push({ digest: blob.digest, error });
    }
  });
  const [first, ...others] = failures;
  if (first !== undefined) throw new BlobsFailedError([first, ...others]);

  async function bring(blob: Descriptor, stop: AbortSignal): Promise<CopyOutcome> {
    let watch = leaseWatch();
    let slow = 0;
    for (;;) {
      try {
        const outcome = await permits.run(async () => {
          stop.throwIfAborted();
          const claim = await deps.leases.tryAcquire(blobLeaseName(blob.digest), watch, stop);
          return isLease(claim)
            ? copyUnderClaim(deps, { blob, claim, upstream, patience: 2 ** slow }, stop)
            : undefined;
        });
        if (outcome !== undefined) return outcome;
      } catch (error) {
        if (!(error instanceof SlowBlobError)) throw error;
        slow = error.bytes >= PROGRESS_BYTES ? 0 : slow + 1;
        if (slow === MOST_SLOW) throw error;
        // Its permit and its claim are free meanwhile for those that wait.
        await sleep(SLOW_REST_MS, stop);
        watch = leaseWatch();
        continue;
      }
      for (let isHeld = true; isHeld;) {
        const row = await poller.next(blob.digest, stop);
        if (await isThere(row, blob, upstream, stop)) return 'copiedElsewhere';
        isHeld = row?.claim !== undefined && !watch.isDead(row.claim);
        if (row?.claim === undefined) watch = leaseWatch();
      }
    }
  }
}

/** The failure is about one blob. A refused credential or a rate limit is about all of them. */
const isOfBlob = (error: unknown): error is CacheError =>
  error instanceof BlobUnknownError ||
  error instanceof ContentMismatchError ||
  error instanceof InvalidManifestError ||
  error instanceof UpstreamUnavailableError ||
  error instanceof UpstreamRefusedError;

/** Polls the rows of all blobs that one pull waits for, in one read. */
interface BlobPoller {
  /** The row at the next poll. */
  next(digest: Digest, signal: AbortSignal): Promise<BlobRow | undefined>;
}

function blobPoller(catalog: Blobs): BlobPoller {
  let delayMs = FIRST_POLL_MS;
  let waiting: { readonly digests: Set<Digest>; readonly rows: Promise<ReadonlyMap<Digest, BlobRow>> } | undefined;
  const begin = (signal: AbortSignal) => {
    const digests = new Set<Digest>();
    const poll = async (): Promise<ReadonlyMap<Digest, BlobRow>> => {
      await sleep(delayMs, signal);
      delayMs = Math.min(delayMs * 2, MOST_BETWEEN_POLLS_MS);
      waiting = undefined;
      return await catalog.findBlobs([...digests], signal);
    };
    return { digests, rows: poll() };
  };
  return {
    async next(digest, signal) {
      waiting ??= begin(signal);
      waiting.digests.add(digest);
      return (await waiting.rows).get(digest);
    },
  };
}

const isThere = async (
  row: BlobRow | undefined,
  blob: Descriptor,
  upstream: BlobSource,
  signal: AbortSignal,
): Promise<boolean> => {
  checkSize(blob, row);
  return row?.state === 'present' && (await mayUse(row, blob, upstream, signal));
};

/**
 * Copies under our claim: no one else copies this blob until it ends. Each round asks the store, if need be,
 * and then writes the row that was read before. If the row changed meanwhile (content lost, or adopted), the
 * next round begins with the new row.
 */
async function copyUnderClaim(deps: PullDeps, claimed: ClaimedBlob, stop: AbortSignal): Promise<CopyOutcome> {
  const { blob, upstream } = claimed;
  await using held = new AsyncDisposableStack();
  let claim = held.use(claimed.claim);
  let row = deps.catalog.blobOf(claim);
  // The store may hold it although the row does not say so: after a kill between the two, or by another's work meanwhile.
  let mayBeStored = claim.generation > 1 || row.commit !== undefined || blob.size > LARGE_BYTES;
  let isProven = false;
  for (let round = 1; round <= ROUNDS; round++) {
    const signal = AbortSignal.any([stop, claim.signal]);
    if (await isThere(row, blob, upstream, signal)) return isProven ? 'copied' : 'copiedElsewhere';
    const copying: Copying = { ...claimed, deps, claim, signal };
    const found = await findOrFetch(copying, row, mayBeStored, isProven);
    isProven ||= found.isProven;
    // No renewal may meet a row that the commit has just freed.
    await claim.stopRenewing();
    const written = await commit(copying, row, found, stop);
    if (written === undefined) return isProven ? 'copied' : 'copiedElsewhere';
    claim = held.use(await deps.leases.adopt(claim, stop));
    row = written;
    mayBeStored = true;
  }
  throw new CatalogError(
    'commit a blob',
    `the row of blob ${blob.digest} was written by others ${ROUNDS} times in a row; pull again`,
  );
}

interface Copying extends ClaimedBlob {
  readonly deps: PullDeps;
  readonly signal: AbortSignal;
}

/** Content that is in the store. */
interface InStore {
  readonly stored: StoredContent;
  readonly domains: readonly TrustDomain[];
  /** Whether all of its bytes came from our upstream: the proof that it has them (I9). */
  readonly isProven: boolean;
}

async function findOrFetch(copying: Copying, row: BlobRow, mayBeStored: boolean, isProven: boolean): Promise<InStore> {
  const { deps, upstream, blob, signal } = copying;
  const stored = mayBeStored ? await findRight(deps, blob, row, signal) : undefined;
  if (stored === undefined) {
    const ingested = await ingestBlob(deps, copying, row.checkpoint, signal);
    return { stored: ingested, domains: [upstream.domain, ...domainsOf(ingested)], isProven: true };
  }
  const domains = domainsOf(stored);
  if (isProven) return { stored, domains: [upstream.domain, ...domains], isProven };
  const found: BlobRow = { ...row, state: 'present', domains: new Set([...row.domains, ...domains]) };
  // For a row that says present, mayUse was false before.
  if (row.state !== 'present' && (await mayUse(found, blob, upstream, signal))) {
    return { stored, domains: [...found.domains], isProven: false };
  }
  // The bytes are here, but not by a domain that this pull may trust: fetching them is the proof (I9). They
  // are not uploaded again.
  await drainBlob(deps, copying, signal);
  return { stored, domains: [upstream.domain, ...domains], isProven: true };
}

const domainsOf = ({ domain }: StoredContent): readonly TrustDomain[] => (domain === undefined ? [] : [domain]);

/** The object, if its bytes are those of the digest. The writer of a row has verified that. */
async function findRight(
  { store }: PullDeps,
  blob: Descriptor,
  row: BlobRow,
  signal: AbortSignal,
): Promise<StoredContent | undefined> {
  const stored = await store.find(blob.digest, signal);
  if (stored?.size !== blob.size) return undefined;
  const isRecorded = row.state === 'present' && row.etag === stored.etag;
  return isRecorded || (await store.isContent(blob, stored, signal)) ? stored : undefined;
}

/**
 * Writes the row and frees the claim in one write, a little beyond the deadline if need be, so that a
 * finished blob is kept. If that fails, too, the next copier finds the content in the store. Returns the row
 * if it was written meanwhile.
 */
async function commit(
  { deps, blob, claim }: Copying,
  { commit: seen }: BlobRow,
  { stored, domains }: InStore,
  stop: AbortSignal,
): Promise<BlobRow | undefined> {
  return await withGrace(stop, COMMIT_GRACE_MS, (late) =>
    deps.catalog.commitBlob(
      claim,
      { content: blob, stored, domains, commit: seen },
      AbortSignal.any([claim.signal, late]),
    ),
  );
}
