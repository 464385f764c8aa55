import type { Descriptor } from '../oci/descriptor.ts';

/** The Map of the state machine takes the list of batches from the state, which holds 256 KB, and each is some events of the 25,000 of an execution. */
export const MAX_BATCHES = 200;

/** An invocation is worth its start for this much; more go side by side. */
const BATCH_BYTES = 128 * 1024 * 1024;
/** What a blob costs beside its bytes: requests and rows, as if it were this much longer. */
const BLOB_OVERHEAD_BYTES = 1024 * 1024;

interface Batch {
  readonly blobs: Descriptor[];
  weight: number;
}

/**
 * The blobs in at most {@link MAX_BATCHES} batches: each blob in exactly one, no batch empty, and none heavier than the average by more than its lightest
 * blob. In each the largest blob comes first, so that it does not begin last.
 */
export function batchesOf(blobs: readonly Descriptor[], batchBytes = BATCH_BYTES): readonly (readonly Descriptor[])[] {
  const weigh = ({ size }: Descriptor): number => size + BLOB_OVERHEAD_BYTES;
  const total = blobs.reduce((sum, blob) => sum + weigh(blob), 0);
  const count = Math.min(MAX_BATCHES, blobs.length, Math.ceil(total / batchBytes));
  const batches = Array.from({ length: count }, (): Batch => ({ blobs: [], weight: 0 }));
  // Largest first, each to the batch that has least so far.
  for (const blob of [...blobs].sort((a, b) => b.size - a.size)) {
    const lightest = batches.reduce((least, batch) => (batch.weight < least.weight ? batch : least));
    lightest.blobs.push(blob);
    lightest.weight += weigh(blob);
  }
  return batches.map((batch) => batch.blobs);
}
