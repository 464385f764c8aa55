import { announceEnd } from './ending.ts';
import { freeLock } from './lock.ts';
import { asTask, failureFrom } from './task-error.ts';
import { parseTask, recordOf } from './task-input.ts';
import { failTask as failTaskInput, type PullTask } from './tasks.ts';
import type { JobDeps } from './job-deps.ts';

/**
 * Ends the pull with the error of whatever task failed, and frees its lock. A pull that has ended already stays as it is. Repeating it is safe.
 *
 * @throws TaskError
 */
export const failTask = (outer: JobDeps, event: unknown, signal: AbortSignal): Promise<PullTask> =>
  asTask(outer, async (deps) => {
    const {
      id,
      error: { Error: name, Cause: cause },
    } = parseTask(failTaskInput, event);
    const before = await recordOf(deps, id, signal);
    const failure = failureFrom(name, cause);
    const record = await deps.records.fail(id, failure, signal);
    if (before.state !== 'failed' && record.state === 'failed') deps.metrics.add('PullsFailed', 1);
    await freeLock(deps, record.lock, signal);
    await announceEnd(deps, record, signal);
    return { id };
  });
