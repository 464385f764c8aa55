import * as z from 'zod/mini';
import { failureOfBlob } from '../pull/failure.ts';
import { count, list, record, text } from '../oci/schemas.ts';
import { moved, NO_REQUESTS, NOTHING_MOVED, requests } from '../pull/receipt.ts';

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
export const pullTask = record({ id: text });
export type PullTask = z.output<typeof pullTask>;

const copyTaskFields = {
  id: text,
  /** The key of the plan in the bucket: a new one for each planning. */
  plan: text,
  batch: count,
  /** Invocations in a row that brought nothing. */
  idle: count,
  /** Invocations that the registry ended by telling us to wait. */
  waits: count,
  /** Of unfinished blobs: what checkpoints keep, so that nobody need fetch it again. */
  keptBytes: count,
};

/** Foreign layers that the registry does not hold, by their positions in the batch. */
const absent = z._default(list(count), []);

/** One batch of missing blobs of one plan. */
export type CopyTask = Pick<CopyInput, keyof typeof copyTaskFields>;

/** What the plan task answers. */
export type PlanAnswer =
  | { readonly id: string; readonly outcome: 'done' }
  | { readonly id: string; readonly outcome: 'copy'; readonly plan: string; readonly batches: readonly CopyTask[] };

/** What the copy task gets: a task of the plan, or its own last answer. */
export const copyInput = record({
  ...copyTaskFields,
  /** Of this batch, over all its invocations that answered. */
  blobs: z._default(moved, NOTHING_MOVED),
  bytes: z._default(moved, NOTHING_MOVED),
  requests: z._default(requests, NO_REQUESTS),
  absent,
});
export type CopyInput = z.output<typeof copyInput>;

/** What the copy task answers: the task again, as it goes on, and what was done. */
const copyAnswer = record({
  ...copyTaskFields,
  blobs: moved,
  bytes: moved,
  requests,
  absent,
  /** `partial`: stopped by the deadline, or told by the registry to wait; to be called again with this same document. */
  outcome: z.enum(['done', 'partial'], 'an outcome'),
  /** Before the next call. */
  waitSeconds: count,
  /** Blobs that did not come, however often they were asked for; as many as the state of an execution has room for. All others of a `done` batch are there. */
  failed: z.exactOptional(list(failureOfBlob)),
});
export type CopyAnswer = z.output<typeof copyAnswer>;

export const publishTask = record({ id: text, plan: text, batches: list(copyAnswer) });
export type PublishTask = z.output<typeof publishTask>;

/** What the fail task gets: the error of whatever task failed, as Step Functions writes it. The language demands `Error` alone: https://states-language.net/spec.html#errors */
export const failTask = record({
  id: text,
  error: record({
    Error: text,
    Cause: z.pipe(
      z.nullish(text),
      z.transform((cause) => cause ?? ''),
    ),
  }),
});
export type FailTask = z.output<typeof failTask>;
