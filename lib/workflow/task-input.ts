import { CacheError } from '../errors/cache-error.ts';
import { blobFailureFrom } from '../fill/failure.ts';
import type { PullRecord } from '../fill/pull-record.ts';
import { JsonShapeError, jsonValue, type JsonValue } from '../fill/json.ts';
import { movedFrom, NO_REQUESTS, NOTHING_MOVED, requestsFrom } from './receipt-document.ts';
import { finalError } from './task-error.ts';
import type { CopyAnswer, CopyTask, FailTask, PublishTask, PullTask } from './tasks.ts';
import type { WorkflowDeps } from './workflow-deps.ts';

/** What the copy task gets: a task of the plan, or its own last answer. */
export type CopyInput = CopyTask & Pick<CopyAnswer, 'blobs' | 'bytes' | 'requests'>;

export const parsePullTask = (event: unknown): PullTask => parsed(event, (task) => ({ id: task.get('id').text() }));

export const parseCopyTask = (event: unknown): CopyInput => parsed(event, copyInputFrom);

export const parsePublishTask = (event: unknown): PublishTask =>
  parsed(event, (task) => ({
    id: task.get('id').text(),
    plan: task.get('plan').text(),
    batches: task.get('batches').list((answer) => ({
      ...copyInputFrom(answer),
      outcome: answer.get('outcome').oneOf('done', 'partial'),
      waitSeconds: answer.get('waitSeconds').count(),
      ...(answer.get('failed').isAbsent ? {} : { failed: answer.get('failed').list(blobFailureFrom) }),
    })),
  }));

export const parseFailTask = (event: unknown): FailTask =>
  parsed(event, (task) => {
    const error = task.get('error');
    const cause = error.get('Cause');
    // The language demands `Error` alone: https://states-language.net/spec.html#errors
    return {
      id: task.get('id').text(),
      error: { Error: error.get('Error').text(), Cause: cause.isAbsent ? '' : cause.text() },
    };
  });

function copyInputFrom(task: JsonValue): CopyInput {
  const [blobs, bytes, requests] = [task.get('blobs'), task.get('bytes'), task.get('requests')];
  return {
    id: task.get('id').text(),
    plan: task.get('plan').text(),
    batch: task.get('batch').count(),
    idle: task.get('idle').count(),
    waits: task.get('waits').count(),
    keptBytes: task.get('keptBytes').count(),
    blobs: blobs.isAbsent ? NOTHING_MOVED : movedFrom(blobs),
    bytes: bytes.isAbsent ? NOTHING_MOVED : movedFrom(bytes),
    requests: requests.isAbsent ? NO_REQUESTS : requestsFrom(requests),
  };
}

function parsed<T>(event: unknown, read: (task: JsonValue) => T): T {
  try {
    return read(jsonValue(event, 'task'));
  } catch (error) {
    if (!(error instanceof JsonShapeError)) throw error;
    throw broken(`${error.message}; the state machine and its functions are of different versions`, error);
  }
}

/** The record that the task is about. */
export async function recordOf(
  { records }: Pick<WorkflowDeps, 'records'>,
  id: string,
  signal: AbortSignal,
): Promise<PullRecord> {
  const record = await records.find(id, signal);
  if (record !== undefined) return record;
  throw broken(`there is no pull ${id}: executions are started by the API and the warm-ups, or it ended long ago`);
}

/** The task makes no sense: no later try can mend it. */
export const broken = (message: string, cause?: unknown): Error =>
  finalError(new CacheError(message, { op: 'run task', origin: 'catalog', retryable: false, cause }));
