import type { FailureOfBlob } from '../fill/pull-record.ts';
import type { BlobTally } from '../pull/receipt.ts';
import type { RequestCounts } from '../registry/upstream.ts';

/*
 * What flows through the state machine (infra/workflow.ts): the id of the pull, and small numbers. Everything else is in the PULL row and in plans/.
 *
 *   {id} ─► plan ─┬─ hit, or nothing left to do ──────────────────────────────────────────────────► end
 *                 └─ {id, plan, batches: [{id, plan, batch}]} ─► Map: copy (again while partial) ─► publish ─► end
 *   anything else ─► fail ─► end
 *
 * Errors that the state machine tells apart, by the name of what a task throws:
 *
 *   LeaseHeld    another pull of the same reference holds the lock: plan again, later
 *   PlanAgain    the lock was lost, or content that was counted on is gone: begin anew with the plan
 *   Retryable    the same task may succeed later
 *   anything else is final
 */

/** The input of an execution, whose name is the id. */
export interface PullTask {
  readonly id: string;
}

/** What the plan task answers. */
export type PlanAnswer =
  | { readonly id: string; readonly outcome: 'done' }
  | { readonly id: string; readonly outcome: 'copy'; readonly plan: string; readonly batches: readonly CopyTask[] };

/** One batch of missing blobs of one plan. */
export interface CopyTask {
  readonly id: string;
  /** The key of the plan in the bucket: a new one for each planning. */
  readonly plan: string;
  readonly batch: number;
  /** Invocations in a row that brought nothing. */
  readonly idle: number;
  /** Invocations that the registry ended by telling us to wait. */
  readonly waits: number;
  /** Of unfinished blobs: what checkpoints keep, so that nobody need fetch it again. */
  readonly keptBytes: number;
}

/** What the copy task answers: the task again, as it goes on, and what was done. */
export interface CopyAnswer extends CopyTask {
  /** `partial`: stopped by the deadline, or told by the registry to wait; to be called again with this same document. */
  readonly outcome: 'done' | 'partial';
  /** Before the next call. */
  readonly waitSeconds: number;
  /** Of this batch, over all its invocations that answered. */
  readonly blobs: Omit<BlobTally, 'total'>;
  readonly bytes: Omit<BlobTally, 'total'>;
  readonly requests: RequestCounts;
  /** Blobs that did not come, however often they were asked for; as many as the state of an execution has room for. All others of a `done` batch are there. */
  readonly failed?: readonly FailureOfBlob[];
}

export interface PublishTask {
  readonly id: string;
  readonly plan: string;
  readonly batches: readonly CopyAnswer[];
}

/** What the fail task gets: the error of whatever task failed, as Step Functions writes it. */
export interface FailTask {
  readonly id: string;
  readonly error: { readonly Error: string; readonly Cause: string };
}
