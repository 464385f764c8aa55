import type { Amount } from './amount.ts';
import type { Fence } from '../lock/fence.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import type { Receipt } from '../pull/receipt.ts';
import type { PullFailure } from '../pull/failure.ts';

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
