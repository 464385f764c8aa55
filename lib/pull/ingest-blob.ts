import { withGrace } from '../async/time.ts';
import { CacheError, ContentMismatchError, StoreError } from '../errors/cache-error.ts';
import type { Lease } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { drainVerified } from '../oci/verify.ts';
import { type BlobReading, paceOf } from '../registry/settings.ts';
import type { BlobBytes } from '../registry/upstream.ts';
import type { Checkpoint, Ingest, StoredContent } from '../store/content-store.ts';
import type { BlobSource } from './read-manifest.ts';
import type { PullDeps } from './pull-request.ts';

/** Ingests of one blob before a conflicting writer is an error. */
const INGESTS = 3;
/** Time between two checkpoints. A kill costs at most what came since, and one part. */
const SAVE_EVERY_MS = 5_000;
/** Time for the checkpoint of an ingest that is stopped. */
const SAVE_GRACE_MS = 3_000;

/** A blob whose claim is ours, and where its bytes come from. */
export interface ClaimedBlob {
  readonly blob: Descriptor;
  readonly claim: Lease;
  readonly upstream: BlobSource;
  /** Factor on the usual time that the blob may take. */
  readonly patience: number;
}

/**
 * Brings the bytes of a claimed blob into the store. Resumes where a predecessor stopped (I4): what it
 * uploaded is not fetched again.
 *
 * If the ingest is stopped, or fails with a retryable error, and can be resumed, its upload stays and the row
 * keeps a checkpoint. Otherwise it leaves nothing.
 */
export async function ingestBlob(
  deps: PullDeps,
  claimed: ClaimedBlob,
  resume: Checkpoint | undefined,
  signal: AbortSignal,
): Promise<StoredContent> {
  const { blob, upstream, patience } = claimed;
  let reading: BlobReading = { pace: paceOf(patience) };
  for (let attempt = 1; ; attempt++) {
    let isOpen = false;
    let committing = false;
    let bytes: BlobBytes | undefined;
    const from = attempt === 1 ? resume : undefined;
    await using into = await deps.store.begin(blob, upstream.domain, signal, from);
    const checkpoints = checkpointsOf(deps, claimed, into);
    try {
      bytes = await upstream.openBlob(blob, into.offset, signal, reading);
      isOpen = true;
      for await (const chunk of counted(deps, blob, bytes)) {
        await into.write(chunk);
        await checkpoints.saveIfDue(signal);
      }
      committing = true;
      return await into.commit();
    } catch (error) {
      // Another writer used the same key or upload, or a predecessor left wrong parts: begin anew.
      const isConflict = committing && error instanceof StoreError && error.retryable && attempt < INGESTS;
      if (isConflict && !signal.aborted) continue;
      if (isOpen && areWrong(error, reading) && !signal.aborted) {
        reading = { ...reading, again: true };
        continue;
      }
      if (signal.aborted || (!committing && error instanceof CacheError && error.retryable)) {
        await checkpoints.keep(signal);
      }
      throw withSender(error, bytes);
    }
  }
}

/** Wrong bytes may come from a mirror or a proxy: read them once more from the start before the registry is blamed. */
const areWrong = (error: unknown, { again = false }: BlobReading): boolean =>
  error instanceof ContentMismatchError && !again;

/** Adds to an error about wrong bytes which host sent them. */
function withSender(error: unknown, bytes: BlobBytes | undefined): unknown {
  const sender = error instanceof ContentMismatchError ? bytes?.sender?.() : undefined;
  if (!(error instanceof ContentMismatchError) || sender === undefined) return error;
  return new ContentMismatchError(error.op, `${error.message}; they came from ${sender}`);
}

/** Reads the blob to its end and verifies it, without keeping it: the proof that its repository has it (I9). */
export async function drainBlob(
  deps: PullDeps,
  { blob, upstream, patience }: ClaimedBlob,
  signal: AbortSignal,
): Promise<void> {
  let reading: BlobReading = { pace: paceOf(patience) };
  for (;;) {
    const bytes = await upstream.openBlob(blob, 0, signal, reading);
    try {
      await drainVerified(counted(deps, blob, bytes), blob);
      return;
    } catch (error) {
      if (!areWrong(error, reading)) throw withSender(error, bytes);
      reading = { ...reading, again: true };
    }
  }
}

/** How far one ingest got, kept in the blob's row. */
interface Checkpoints {
  /** @throws LeaseLostError, CatalogError */
  saveIfDue(signal: AbortSignal): Promise<void>;
  /**
   * Suspends the ingest for a successor, a little beyond the deadline if need be. Its own failures are not
   * thrown: they must not hide why the ingest ends.
   */
  keep(signal: AbortSignal): Promise<void>;
}

function checkpointsOf(deps: PullDeps, { blob, claim }: ClaimedBlob, into: Ingest): Checkpoints {
  let savedMs = -Infinity;
  let savedBytes = into.offset;
  const save = async (checkpoint: Checkpoint, signal: AbortSignal): Promise<void> => {
    const bytes = checkpoint.partsDone * checkpoint.partBytes;
    if (checkpoint.hashState === undefined || bytes <= savedBytes) return;
    await deps.catalog.saveCheckpoint(claim, blob.digest, checkpoint, signal);
    savedMs = performance.now();
    savedBytes = bytes;
  };
  return {
    async saveIfDue(signal) {
      if (performance.now() - savedMs < SAVE_EVERY_MS) return;
      const checkpoint = into.checkpoint();
      if (checkpoint !== undefined) await save(checkpoint, signal);
    },

    async keep(signal) {
      // A successor knows of this upload only if the row names it.
      if (claim.signal.aborted && savedBytes === 0) return;
      const checkpoint = await into.suspend();
      if (checkpoint === undefined || claim.signal.aborted) return;
      try {
        await withGrace(signal, SAVE_GRACE_MS, (late) => save(checkpoint, late));
      } catch (error) {
        if (!(error instanceof CacheError) && !signal.aborted) throw error;
        // The successor resumes from an earlier checkpoint, or begins anew; then the bucket's lifecycle rule removes the upload.
      }
    },
  };
}

/** Reports progress as the bytes come. */
async function* counted(
  deps: PullDeps,
  blob: Descriptor,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    deps.progress?.copied?.(blob, chunk.byteLength);
    yield chunk;
  }
}
