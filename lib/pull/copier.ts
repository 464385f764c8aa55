import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import type { BlobRow } from '../catalog/catalog.ts';
import { ContentLostError, InvalidManifestError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { PUBLIC } from '../reference/trust-domain.ts';
import { copyMissing, type CopyOutcome } from './copy-blob.ts';
import type { PullDeps } from './pull-request.ts';
import type { BlobSource } from './read-manifest.ts';
import type { ReceiptDraft } from './receipt-draft.ts';
import { reconcile } from './reconcile.ts';

/** Requests to the registry at the same time. */
const PARALLEL_QUESTIONS = 8;

/**
 * Whether a blob in the store may be used for this repository (I9): it is public; or the same credential
 * brought it from some repository, and this repository confirms that it has it, too. Knowing its digest is
 * not enough.
 */
export async function mayUse(
  row: BlobRow,
  blob: Descriptor,
  upstream: BlobSource,
  signal: AbortSignal,
): Promise<boolean> {
  if (row.domains.has(PUBLIC)) return true;
  return row.domains.has(upstream.domain) && (await upstream.hasBlob(blob, signal));
}

/** @throws InvalidManifestError if the manifest states a wrong size for the blob. */
export function checkSize(blob: Descriptor, row: BlobRow | undefined): void {
  if (row?.state !== 'present' || row.size === undefined || row.size === blob.size) return;
  throw new InvalidManifestError(
    `the manifest says that blob ${blob.digest} has ${blob.size} bytes, but the content of that digest in the cache has ${row.size}`,
  );
}

/**
 * Splits `blobs` into those that the cache has for this repository, and those that must be fetched: to store
 * them, or as proof.
 */
async function findMissing(
  deps: PullDeps,
  upstream: BlobSource,
  blobs: readonly Descriptor[],
  signal: AbortSignal,
): Promise<{ present: Descriptor[]; missing: Descriptor[] }> {
  const digests = blobs.map((blob) => blob.digest);
  const { links, blobs: rows } = await deps.catalog.findContents(upstream.repository, digests, signal);
  const permits = newPermits(PARALLEL_QUESTIONS);
  const there = await allOrFirstFailure(blobs, signal, async (blob, stop) => {
    const row = rows.get(blob.digest);
    checkSize(blob, row);
    if (row?.state !== 'present') return false;
    return links.has(blob.digest) || permits.run(() => mayUse(row, blob, upstream, stop));
  });
  return { present: blobs.filter((_, i) => there[i]), missing: blobs.filter((_, i) => !there[i]) };
}

/** Brings the blobs of one pull into the cache, and counts them for the receipt. */
export interface Copier {
  /**
   * Those of `wanted` that the cache lacks, or that this repository may not use (I9). Blobs that this copier
   * brought are not checked again.
   */
  readonly find: (wanted: readonly Descriptor[]) => Promise<readonly Descriptor[]>;
  /** Brings every blob of `wanted` into the cache, except those of `optional` that the registry does not have. */
  readonly copy: (wanted: readonly Descriptor[], optional?: ReadonlySet<Digest>) => Promise<void>;
  /** Brings a config and reads it. If the store lost it, fetches it again. */
  readonly obtain: (config: Descriptor) => Promise<Uint8Array>;
}

/** Notes in the draft how a blob got here, or that the registry does not have it. */
const note =
  (draft: Pick<ReceiptDraft, 'blob' | 'absent'>) =>
  (blob: Descriptor, outcome: CopyOutcome | 'absent'): void =>
    outcome === 'absent' ? draft.absent(blob) : draft.blob(blob, outcome);

export function copier(
  deps: PullDeps,
  upstream: BlobSource,
  draft: Pick<ReceiptDraft, 'blob' | 'absent'>,
  signal: AbortSignal,
): Copier {
  const brought = new Set<Digest>();
  const find = async (wanted: readonly Descriptor[]): Promise<readonly Descriptor[]> => {
    const blobs = wanted.filter((blob) => !brought.has(blob.digest));
    const { present, missing } = await findMissing(deps, upstream, blobs, signal);
    for (const blob of present) draft.blob(blob, 'present');
    return missing;
  };
  const copy = async (wanted: readonly Descriptor[], optional?: ReadonlySet<Digest>): Promise<void> => {
    const missing = await find(wanted);
    deps.progress?.planned?.(wanted, missing);
    await copyMissing(deps, upstream, missing, signal, note(draft), optional);
    for (const blob of wanted) brought.add(blob.digest);
  };
  const read = (config: Descriptor): Promise<Uint8Array> => deps.store.read(config, deps.limits.manifestBytes, signal);
  return {
    find,
    copy,
    async obtain(config) {
      await copy([config]);
      try {
        return await read(config);
      } catch (error) {
        if (!(error instanceof ContentLostError)) throw error;
        await reconcile(deps, [config], { adopt: false, signal });
        brought.delete(config.digest);
      }
      await copy([config]);
      return await read(config);
    },
  };
}
