import type * as z from 'zod/mini';
import { CacheError } from '../errors/cache-error.ts';
import type { PullRecord } from './pull-record.ts';
import { decode, ShapeError } from '../oci/schemas.ts';
import { finalError } from './task-error.ts';
import type { JobDeps } from './job-deps.ts';

/** What a task was called with. @throws TaskError, a final one, if it is something else. */
export function parseTask<S extends z.ZodMiniType>(schema: S, event: unknown): z.output<S> {
  try {
    return decode(schema, event, 'task');
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw broken(`${error.message}; the state machine and its functions are of different versions`, error);
  }
}

/** The record that the task is about. */
export async function recordOf(
  { records }: Pick<JobDeps, 'records'>,
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
