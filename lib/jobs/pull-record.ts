import { createHash } from 'node:crypto';
import type { Fence } from '../lock/fence.ts';
import { normalisePlatform, type Platform } from '../oci/platform.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import type { Receipt } from '../pull/receipt.ts';
import { formatRepository, pointerOf } from '../reference/reference.ts';
import type { Amount } from './tasks.ts';

/**
 * `queued`: written down, its execution may not have begun. `running`: planned or copying. The other two are the end, and never change again.
 */
export type PullState = 'queued' | 'running' | 'succeeded' | 'failed';

/** PULL: one pull by a workflow, from the request to its receipt. Expires some days after it ended. */
export interface PullRecord {
  /** A uuid; also the name of the execution. */
  readonly id: string;
  readonly request: PullRequest;
  readonly state: PullState;
  readonly createdMs: number;
  /** When the last caller came whose question it must answer: for `alwaysPull` no older resolution is good enough. */
  readonly askedMs: number;
  /** Of the last write of any kind: a running pull that wrote nothing for long may be dead. */
  readonly updatedMs: number;
  readonly startedMs?: number;
  readonly endedMs?: number;
  /** How often it was planned: content that was swept, or a lock that was lost, lead to another plan. */
  readonly plans: number;
  /** The lock of the reference, from the plan to the end. */
  readonly lock?: Fence;
  /** What the last plan has to copy, and what there is in all. */
  readonly planned?: { readonly total: Amount; readonly missing: Amount };
  /** When the last plan was made: rates count from here. */
  readonly plannedMs?: number;
  /** What is done of `planned.missing`, summed over the batches. */
  readonly copied: Amount;
  readonly receipt?: Receipt;
  readonly failure?: PullFailure;
}

export const isEnded = ({ state }: Pick<PullRecord, 'state'>): boolean => state === 'succeeded' || state === 'failed';

/** The records of the pulls of workflows. Every failure is a CatalogError. */
export interface PullRecords {
  /**
   * The pull that is under way for the same reference, platforms, attestations and `alwaysPull`, or a new one (`queued`): one conditional row per request
   * holds the id of the active pull, so that however many ask at once one pull is created. An ended pull is never joined, nor, for `alwaysPull`, one that has begun:
   * it may have asked the registry before this caller came; nor, with `resolvedSinceMs`, one that was asked for before.
   */
  join(request: PullRequest, signal: AbortSignal): Promise<{ readonly record: PullRecord; readonly created: boolean }>;
  find(id: string, signal: AbortSignal): Promise<PullRecord | undefined>;
  /** The last pull of the same kind, if it failed and none was made since. */
  findFailed(request: PullRequest, signal: AbortSignal): Promise<PullRecord | undefined>;
  /**
   * The lock is held and planning begins: `running`, one plan more, progress forgotten. Undefined if the pull ended meanwhile (then free the lock).
   *
   * @throws LeaseLostError if a later try of the same pull began already.
   */
  begin(id: string, lock: Fence, signal: AbortSignal): Promise<PullRecord | undefined>;
  /** What the plan has to copy. */
  planned(id: string, planned: NonNullable<PullRecord['planned']>, signal: AbortSignal): Promise<void>;
  /** What a batch of the current plan has done in all (a repeated batch overwrites its own number); also shows that the pull lives. */
  progressed(id: string, batch: number, done: Amount, signal: AbortSignal): Promise<void>;
  /** Ends it, and lets the next request of the same kind start anew, in one transaction. Ending twice changes nothing: the record as it stands comes back. */
  succeed(id: string, receipt: Receipt, signal: AbortSignal): Promise<PullRecord>;
  /** The same for a failure. */
  fail(id: string, failure: PullFailure, signal: AbortSignal): Promise<PullRecord>;
}

/**
 * Equal for requests that mean the same, whatever their order and spelling, and different otherwise: 64 hex digits.
 *
 * `linux/arm64` and `linux/arm64/v8` differ, because the first takes every variant. A tag beside a digest means nothing.
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

/** How far a pull is. */
export interface Progress {
  /** All of the image that was asked for. */
  readonly total: Amount;
  /** What had to be copied when it was planned. */
  readonly missing: Amount;
  /** Of `missing`. */
  readonly copied: Amount;
  /** Since it was planned; null where no time has passed. */
  readonly bytesPerSecond: number | null;
  /** Until all is copied at this rate; null where nothing has been copied yet, and for a pull that failed. */
  readonly etaSeconds: number | null;
}

/** How far the pull is at `nowMs`; undefined before it was planned. A pull that ended stands still. */
export function progressOf(record: PullRecord, nowMs: number): Progress | undefined {
  const { planned, plannedMs, endedMs, state } = record;
  if (planned === undefined || plannedMs === undefined) return undefined;
  const { total, missing } = planned;
  // Batches count what they did; of a plan that was made anew meanwhile, a late one may count too much.
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
