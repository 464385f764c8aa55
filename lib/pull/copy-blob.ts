import type { BlobRow } from '../catalog/catalog.ts';
import { blobLeaseName } from '../catalog/keys.ts';
import { leaseWatch } from '../lock/lease-watch.ts';
import { isLease, type Lease } from '../lock/lease.ts';
import { withGrace } from '../clock/grace.ts';
import { sleep } from '../clock/sleep.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { drainVerified } from '../oci/verify.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Upstream } from '../registry/upstream.ts';
import type { StoredContent } from '../store/content-store.ts';
import { counted, ingestBlob } from './ingest-blob.ts';
import { allOrFirstFailure, limiter } from './limiter.ts';
import { checkSize, mayUse } from './presence.ts';
import type { PullDeps } from './pull-request.ts';

/** Who brought a missing blob. */
export type CopyOutcome = 'copied' | 'copiedElsewhere';

/** Time for the row of a blob that was finished when the pull was told to stop. */
const COMMIT_GRACE_MS = 4_000;

/**
 * Brings every blob of `missing` into the cache, each once among all pulls of all processes (I4): whoever gets the claim copies, the others wait
 * without holding a place, and take over when the copier dies.
 *
 * `done` hears of each blob as it becomes present, so that a call which fails or is stopped has still told what is kept.
 */
export async function copyMissing(
  deps: PullDeps,
  upstream: Upstream,
  missing: readonly Descriptor[],
  signal: AbortSignal,
  done: (blob: Descriptor, outcome: CopyOutcome) => void,
): Promise<void> {
  const places = limiter(deps.limits.parallelBlobs);
  await allOrFirstFailure(missing, signal, async (blob, stop) => {
    const watch = leaseWatch();
    for (;;) {
      const outcome = await places.run(async () => {
        stop.throwIfAborted();
        const claim = await deps.leases.tryAcquire(blobLeaseName(blob.digest), watch, stop);
        return isLease(claim) ? copyUnderClaim(deps, upstream, blob, claim, stop) : undefined;
      });
      if (outcome !== undefined) {
        done(blob, outcome);
        deps.progress?.finished?.(blob, outcome === 'copied' ? 'us' : 'another pull');
        return;
      }
      await sleep(watch.nextDelayMs(), stop);
      const row = (await deps.catalog.findBlobs([blob.digest], stop)).get(blob.digest);
      if (await isThere(row, blob, upstream, stop)) {
        done(blob, 'copiedElsewhere');
        deps.progress?.finished?.(blob, 'another pull');
        return;
      }
    }
  });
}

const isThere = async (
  row: BlobRow | undefined,
  blob: Descriptor,
  upstream: Upstream,
  signal: AbortSignal,
): Promise<boolean> => {
  checkSize(blob, row);
  return row?.state === 'present' && (await mayUse(row, blob, upstream, signal));
};

/** The claim is ours: nobody else copies this blob until it ends. */
async function copyUnderClaim(
  deps: PullDeps,
  upstream: Upstream,
  blob: Descriptor,
  claimed: Lease,
  stop: AbortSignal,
): Promise<CopyOutcome> {
  await using claim = claimed;
  const signal = AbortSignal.any([stop, claim.signal]);
  // Somebody may have finished between our look and our claim.
  const row = (await deps.catalog.findBlobs([blob.digest], signal)).get(blob.digest);
  if (await isThere(row, blob, upstream, signal)) return 'copiedElsewhere';

  // A kill may have fallen between the commit of the content and its row: the store knows.
  const stored = await deps.store.find(blob.digest, signal);
  if (stored?.size !== blob.size || stored.etag === row?.distrustedEtag) {
    const ingested = await ingestBlob(deps, { blob, claim, upstream }, row?.checkpoint, signal);
    await commit(deps, claim, blob, ingested, [upstream.domain], stop);
    return 'copied';
  }
  const domains = stored.domain === undefined ? [] : [stored.domain];
  const found: BlobRow = {
    digest: blob.digest,
    state: 'present',
    domains: new Set([...(row?.domains ?? []), ...domains]),
  };
  // A row that says present was asked about above, and the answer was no.
  if (row?.state !== 'present' && (await mayUse(found, blob, upstream, signal))) {
    await commit(deps, claim, blob, stored, [...found.domains], stop);
    return 'copiedElsewhere';
  }
  // The bytes are here, but nobody this pull may trust brought them: fetching them is the proof (I9). They are not uploaded again.
  await drainVerified(counted(deps, blob, await upstream.openBlob(blob, 0, signal)), blob);
  await commit(deps, claim, blob, stored, [...domains, upstream.domain], stop);
  return 'copied';
}

/**
 * Writes the row and frees the claim in one go, a little beyond the deadline if need be, so that a finished blob is kept. If time is over for that,
 * too, or the claim is lost, its successor finds the content in the store.
 */
async function commit(
  deps: PullDeps,
  claim: Lease,
  blob: Descriptor,
  stored: StoredContent,
  domains: readonly TrustDomain[],
  stop: AbortSignal,
): Promise<void> {
  await claim.stopRenewing();
  await withGrace(stop, COMMIT_GRACE_MS, (late) =>
    deps.catalog.commitBlob(claim, blob, stored, domains, AbortSignal.any([claim.signal, late])),
  );
}
