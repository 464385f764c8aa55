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
/** What a kill costs at most of a blob that can be gone on with, beside one part. */
const SAVE_EVERY_MS = 5_000;
/** Time for the checkpoint of an ingest that is told to stop. */
const SAVE_GRACE_MS = 3_000;

/** A blob whose claim is ours, and where its bytes come from. */
export interface ClaimedBlob {
  readonly blob: Descriptor;
  readonly claim: Lease;
  readonly upstream: BlobSource;
  /** Times the usual time that it has to come at its pace. */
  readonly patience: number;
}

/**
 * Brings the bytes of a claimed blob into the store, from where a predecessor stopped (I4): what it had uploaded is not fetched again.
 *
 * Where the ingest is stopped, or fails for a reason that may pass, and could be gone on with, its upload stays and the row says how far it came. In any other
 * case nothing is left of it.
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
      // Something else wrote the same key or the same upload, or a predecessor left what is wrong: begin anew.
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

/** A mirror, or something on the way, may have spoiled the bytes: once more from the first one, before their registry is blamed. */
const areWrong = (error: unknown, { again = false }: BlobReading): boolean =>
  error instanceof ContentMismatchError && !again;

/** Of wrong bytes that nobody's answer showed to be wrong the error says who sent them. */
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

/** How far one ingest came, on the blob's row. */
interface Checkpoints {
  /** @throws LeaseLostError, CatalogError */
  saveIfDue(signal: AbortSignal): Promise<void>;
  /** Ends the ingest for a successor, a little beyond the deadline if need be. Its own failures are not thrown: why the ingest ends must stay the error reported. */
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
      // Whoever took the claim over knows of this upload only if the row says so.
      if (claim.signal.aborted && savedBytes === 0) return;
      const checkpoint = await into.suspend();
      if (checkpoint === undefined || claim.signal.aborted) return;
      try {
        await withGrace(signal, SAVE_GRACE_MS, (late) => save(checkpoint, late));
      } catch (error) {
        if (!(error instanceof CacheError) && !signal.aborted) throw error;
        // The successor goes on from an earlier checkpoint, or begins anew; then the lifecycle rule of the bucket clears the upload away.
      }
    },
  };
}

/** Tells of the bytes as they come. */
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
