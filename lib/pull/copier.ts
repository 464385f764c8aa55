import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { copyMissing, type CopyOutcome } from './copy-blob.ts';
import type { PullDeps } from './pull-request.ts';
import type { BlobSource } from './read-manifest.ts';
import type { ReceiptDraft } from './receipt-draft.ts';
import { findMissing } from './presence.ts';
import { reconcile } from './reconcile.ts';

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
