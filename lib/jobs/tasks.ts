import * as z from 'zod/mini';
import { CacheError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { count, decode, array, record, ShapeError, string } from '../oci/schemas.ts';
import { failureOfBlob } from '../pull/failure.ts';
import { type Moved, moved, NO_REQUESTS, NOTHING_MOVED, type Receipt, requests } from '../pull/receipt.ts';
import type { JobDeps } from './jobs.ts';
import type { PullRecord } from './pull-record.ts';
import { finalError } from './task-error.ts';

/** Distinct configs and layers, and their bytes. */
export const amount = record({ blobs: count, bytes: count });
export type Amount = z.output<typeof amount>;

export const amountOf = (blobs: readonly Descriptor[]): Amount => ({
  blobs: blobs.length,
  bytes: blobs.reduce((sum, { size }) => sum + size, 0),
});

type RequestCounts = Receipt['registryRequests'];

export const sumOfMoved = (a: Moved, b: Moved): Moved => ({
  present: a.present + b.present,
  copied: a.copied + b.copied,
  copiedElsewhere: a.copiedElsewhere + b.copiedElsewhere,
});

export const sumOfRequests = (a: RequestCounts, b: RequestCounts): RequestCounts => ({
  total: a.total + b.total,
  ping: a.ping + b.ping,
  token: a.token + b.token,
  manifest: a.manifest + b.manifest,
  blob: a.blob + b.blob,
  redirected: a.redirected + b.redirected,
});

/*
 * The documents that pass through the state machine (infra/workflow.ts): the id of the pull, and small numbers. Everything else is in the PULL row and in plans/.
 *
 *   {id} ─► plan ─┬─ hit, or nothing left to do ──────────────────────────────────────────────────► end
 *                 └─ {id, plan, batches: [{id, plan, batch}]} ─► Map: copy (again while partial) ─► publish ─► end
 *   anything else ─► fail ─► end
 *
 * Errors of tasks that the state machine handles, by name:
 *
 *   LeaseHeld    another pull of the same reference holds the lock: plan again, later
 *   PlanAgain    the lock was lost, or planned content is gone: begin again with the plan
 *   Retryable    the same task may succeed later
 *   anything else is final
 */

/** The input of an execution, whose name is the id. */
export const pullTask = record({ id: string });
export type PullTask = z.output<typeof pullTask>;

const copyTaskFields = {
  id: string,
  /** The key of the plan in the bucket: a new one for each planning. */
  plan: string,
  batch: count,
  /** Invocations in a row without progress. */
  idle: count,
  /** Invocations that ended because the registry asked to wait. */
  waits: count,
  /** Bytes of unfinished blobs that checkpoints hold, and that are not fetched again. */
  keptBytes: count,
};

/** Optional blobs that the registry does not have, by their positions in the batch. */
const absent = z._default(array(count), []);

/** One batch of missing blobs of one plan. */
export type CopyTask = Pick<CopyInput, keyof typeof copyTaskFields>;

/** What the plan task answers. */
export type PlanAnswer =
  | { readonly id: string; readonly outcome: 'done' }
  | { readonly id: string; readonly outcome: 'copy'; readonly plan: string; readonly batches: readonly CopyTask[] };

/** What the copy task gets: a task of the plan, or its own last answer. */
export const copyInput = record({
  ...copyTaskFields,
  /** Of this batch, over all its invocations so far. */
  blobs: z._default(moved, NOTHING_MOVED),
  bytes: z._default(moved, NOTHING_MOVED),
  requests: z._default(requests, NO_REQUESTS),
  absent,
});
export type CopyInput = z.output<typeof copyInput>;

/** What the copy task answers: its input for the next call, and what is done. */
const copyAnswer = record({
  ...copyTaskFields,
  blobs: moved,
  bytes: moved,
  requests,
  absent,
  /** `partial`: stopped by the deadline or a wait that the registry asked for; call the task again with this document. */
  outcome: z.enum(['done', 'partial'], 'an outcome'),
  /** To wait before the next call. */
  waitSeconds: count,
  /** Blobs that failed in every try, as many as fit into the state. All other blobs of a `done` batch are stored. */
  failed: z.exactOptional(array(failureOfBlob)),
});
export type CopyAnswer = z.output<typeof copyAnswer>;

export const publishTaskSchema = record({ id: string, plan: string, batches: array(copyAnswer) });
export type PublishTask = z.output<typeof publishTaskSchema>;

/** What the fail task gets: the error of the failed task, as Step Functions writes it. Only `Error` is always there: https://states-language.net/spec.html#errors */
export const failTaskSchema = record({
  id: string,
  error: record({
    Error: string,
    Cause: z.pipe(
      z.nullish(string),
      z.transform((cause) => cause ?? ''),
    ),
  }),
});
export type FailTask = z.output<typeof failTaskSchema>;

/** The input of a task. @throws TaskError (final) if it has another form. */
export function parseTask<S extends z.ZodMiniType>(schema: S, event: unknown): z.output<S> {
  try {
    return decode(schema, event, 'task');
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw broken(`${error.message}; the state machine and its functions are of different versions`, error);
  }
}

/** The record that the task is about. */
export async function recordOfTask(
  { records }: Pick<JobDeps, 'records'>,
  id: string,
  signal: AbortSignal,
): Promise<PullRecord> {
  const record = await records.find(id, signal);
  if (record !== undefined) return record;
  throw broken(`pull ${id} does not exist: it expired, or the execution was started by hand`);
}

/** The input of the task is wrong: a retry cannot help. */
export const broken = (message: string, cause?: unknown): Error =>
  finalError(new CacheError(message, { op: 'run task', origin: 'catalog', retryable: false, cause }));
