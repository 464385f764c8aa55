import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobSource } from './carried.ts';
import { copyMissing, type CopyOutcome } from './copy-blob.ts';
import { findMissing } from './presence.ts';
import { reconcile } from './reconcile.ts';
import type { PullDeps } from './pull-request.ts';
import type { ReceiptDraft } from './receipt-draft.ts';

/** Brings the blobs of one pull into the cache, and tallies them. */
export interface Copier {
  /** Those of `wanted` that the cache lacks, or may not use here (I9). One that was brought before is not asked for again. */
  readonly find: (wanted: readonly Descriptor[]) => Promise<readonly Descriptor[]>;
  /** Every blob of `wanted` is in the cache and may be used here; but for those of `optional` that the registry does not hold. */
  readonly copy: (wanted: readonly Descriptor[], optional?: ReadonlySet<Digest>) => Promise<void>;
  /** Brings a config and reads it. One that the store lost behind the catalogue's back is brought again. */
  readonly obtain: (config: Descriptor) => Promise<Uint8Array>;
}

/** Tells the draft who brought a blob, or that nobody has it. */
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
