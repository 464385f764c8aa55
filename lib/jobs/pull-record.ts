import { createHash } from 'node:crypto';
import type { Fence } from '../lock/fence.ts';
import { normalisePlatform, type Platform } from '../oci/platform.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import type { Receipt } from '../pull/receipt.ts';
import { formatRepository, pointerOf } from '../reference/reference.ts';
import type { Amount } from './tasks.ts';

/**
 * `queued`: its execution may not have begun. `running`: planning or copying. The other two are final.
 */
export type PullState = 'queued' | 'running' | 'succeeded' | 'failed';

/** PULL: one pull by a workflow, from the request to its receipt. Expires some days after it ended. */
export interface PullRecord {
  /** A uuid; also the name of the execution. */
  readonly id: string;
  readonly request: PullRequest;
  readonly state: PullState;
  readonly createdMs: number;
  /** When the last caller joined: for `alwaysPull`, an older resolution is not good enough. */
  readonly askedMs: number;
  /** Time of the last write. A running pull without a write for long may be dead. */
  readonly updatedMs: number;
  readonly startedMs?: number;
  readonly endedMs?: number;
  /** Number of plans so far: swept content or a lost lock lead to another plan. */
  readonly plans: number;
  /** The lock of the reference, from the plan to the end. */
  readonly lock?: Fence;
  /** All content of the image, and what the last plan has to copy. */
  readonly planned?: { readonly total: Amount; readonly missing: Amount };
  /** When the last plan was made: rates count from here. */
  readonly plannedMs?: number;
  /** The finished part of `planned.missing`, over all batches. */
  readonly copied: Amount;
  readonly receipt?: Receipt;
  readonly failure?: PullFailure;
}

export const isEnded = ({ state }: Pick<PullRecord, 'state'>): boolean => state === 'succeeded' || state === 'failed';

/** The records of the pulls of workflows. Every failure is a CatalogError. */
export interface PullRecords {
  /**
   * The running pull for the same reference, platforms, attestations and `alwaysPull`, or a new one (`queued`). Only one pull is created for concurrent callers: one
   * conditional row per request holds the id of the active pull. Never joins an ended pull; for `alwaysPull` none that has begun, because it may have asked the
   * registry before this call; with `resolvedSinceMs` none that was requested earlier.
   */
  join(request: PullRequest, signal: AbortSignal): Promise<{ readonly record: PullRecord; readonly created: boolean }>;
  find(id: string, signal: AbortSignal): Promise<PullRecord | undefined>;
  /** The last pull of the same request, if it failed and no other was created since. */
  findFailed(request: PullRequest, signal: AbortSignal): Promise<PullRecord | undefined>;
  /**
   * Records that planning begins under the lock: `running`, one more plan, no progress. Undefined if the pull ended meanwhile (then release the lock).
   *
   * @throws LeaseLostError if a later planning of the same pull has begun.
   */
  begin(id: string, lock: Fence, signal: AbortSignal): Promise<PullRecord | undefined>;
  /** Records what the plan has to copy. */
  planned(id: string, planned: NonNullable<PullRecord['planned']>, signal: AbortSignal): Promise<void>;
  /** Records the total progress of a batch (a repeated batch overwrites its own number); also shows that the pull is alive. */
  progressed(id: string, batch: number, done: Amount, signal: AbortSignal): Promise<void>;
  /** Ends the pull and frees its request for the next pull, in one transaction. If it has ended already, returns the record unchanged. */
  succeed(id: string, receipt: Receipt, signal: AbortSignal): Promise<PullRecord>;
  /** The same for a failure. */
  fail(id: string, failure: PullFailure, signal: AbortSignal): Promise<PullRecord>;
}

/**
 * 64 hex digits, equal for equivalent requests whatever their order and spelling, and different otherwise.
 *
 * `linux/arm64` and `linux/arm64/v8` differ, because the first matches every variant. A tag beside a digest is ignored.
 */
export function requestKey(request: PullRequest): string {
  const { reference, platforms, attestations, alwaysPull, resolvedSinceMs, blob } = request;
  const distinct = [...new Set(platforms.map(exact))].sort();
  const said = [formatRepository(reference.repository), pointerOf(reference), distinct, attestations, alwaysPull];
  if (resolvedSinceMs !== undefined) said.push('as resolved');
  if (blob !== undefined) said.push('blob');
  return createHash('sha256').update(JSON.stringify(said)).digest('hex');
}

function exact(platform: Platform): string {
  const { os, architecture, variant = '' } = normalisePlatform(platform);
  return `${os}/${architecture}/${variant}`;
}

/** The progress of a pull. */
export interface Progress {
  /** All requested content of the image. */
  readonly total: Amount;
  /** What was missing in the cache at planning. */
  readonly missing: Amount;
  /** Of `missing`. */
  readonly copied: Amount;
  /** Since planning; null if no time has passed. */
  readonly bytesPerSecond: number | null;
  /** Time left at this rate; null if nothing is copied yet, or the pull failed. */
  readonly etaSeconds: number | null;
}

/** The progress at `nowMs`; undefined before planning. Fixed once the pull has ended. */
export function progressOf(record: PullRecord, nowMs: number): Progress | undefined {
  const { planned, plannedMs, endedMs, state } = record;
  if (planned === undefined || plannedMs === undefined) return undefined;
  const { total, missing } = planned;
  // A late batch of an earlier plan may add too much.
  const copied = {
    blobs: Math.min(record.copied.blobs, missing.blobs),
    bytes: Math.min(record.copied.bytes, missing.bytes),
  };
  const elapsedMs = (endedMs ?? nowMs) - plannedMs;
  const bytesPerSecond = elapsedMs > 0 ? Math.round((copied.bytes * 1000) / elapsedMs) : null;
  return { total, missing, copied, bytesPerSecond, etaSeconds: eta() };

  function eta(): number | null {
    if (state === 'succeeded' || missing.bytes === copied.bytes) return state === 'failed' ? null : 0;
    if (state === 'failed' || bytesPerSecond === null || bytesPerSecond === 0) return null;
    return Math.ceil((missing.bytes - copied.bytes) / bytesPerSecond);
  }
}
