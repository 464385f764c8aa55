import { sleep } from '../clock/sleep.ts';
import { endAbandoned } from '../fill/abandoned.ts';
import type { Fills } from '../fill/fills.ts';
import { isEnded } from '../fill/pull-record.ts';
import { allOrFirstFailure, limiter } from '../pull/limiter.ts';
import { copyTask } from './copy-task.ts';
import { failTask } from './fail-task.ts';
import { planTask } from './plan-task.ts';
import { publishTask } from './publish-task.ts';
import { LEASE_HELD, PLAN_AGAIN, TaskError } from './task-error.ts';
import type { CopyAnswer, CopyTask } from './tasks.ts';
import type { WorkflowDeps } from './workflow-deps.ts';

/** Pulls of this process at the same time; the others wait. */
const PARALLEL_PULLS = 8;
const PARALLEL_BATCHES = 4;
const TRIES = 5;
const HELD_TRIES = 60;
const USUAL_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
/** A pull that runs writes its progress every few seconds: one that is silent for so long died with its process. */
const SILENT_MS = 20_000;

export interface LocalFills extends Fills, AsyncDisposable {
  /** Pulls that this process carries out now. */
  readonly running: number;
}

/**
 * The state machine of infra/workflow.ts, carried out by this process: for the command line, where there is no Step Functions. A pull goes on whether or not
 * who asked for it stays; disposal stops what runs, and the next process that is asked for the same goes on with what is there.
 */
export function localFills(deps: WorkflowDeps, failed: (id: string, error: unknown) => void): LocalFills {
  const closing = new AbortController();
  const places = limiter(PARALLEL_PULLS);
  const running = new Map<string, Promise<void>>();

  function run(id: string): void {
    const work = places
      .run(() => carryOut(deps, id, closing.signal))
      .catch((error: unknown) => {
        // Its record stays as it is, and who asks next finds it silent.
        if (!closing.signal.aborted) failed(id, error);
      })
      .finally(() => running.delete(id));
    running.set(id, work);
  }

  return {
    get running() {
      return running.size;
    },
    async start(request, signal) {
      const { record, created } = await deps.records.join(request, signal);
      if (running.has(record.id)) return record;
      if (created || record.state === 'queued') {
        run(record.id);
        return record;
      }
      if (isEnded(record) || Date.now() - record.updatedMs < SILENT_MS) return record;
      await endAbandoned(deps, record.id, signal);
      const next = await deps.records.join(request, signal);
      if (next.created) run(next.record.id);
      return next.record;
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the process ends'));
      await Promise.allSettled(running.values());
    },
  };
}

async function carryOut(deps: WorkflowDeps, id: string, signal: AbortSignal): Promise<void> {
  try {
    await planCopyPublish(deps, id, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TaskError)) throw error;
    const cause = JSON.stringify({ errorMessage: error.message });
    await failTask(deps, { id, error: { Error: error.name, Cause: cause } }, signal);
  }
}

/** Until it is published, or fails for good: the plan task counts how often it is begun anew. */
async function planCopyPublish(deps: WorkflowDeps, id: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      const planned = await tried(deps, () => planTask(deps, { id }, signal), signal);
      if (planned.outcome === 'done') return;
      const places = limiter(PARALLEL_BATCHES);
      const batches = await allOrFirstFailure(planned.batches, signal, (batch, stop) =>
        places.run(() => copied(deps, batch, stop)),
      );
      await tried(deps, () => publishTask(deps, { id, plan: planned.plan, batches }, signal), signal);
      return;
    } catch (error) {
      if (!(error instanceof TaskError && error.name === PLAN_AGAIN)) throw error;
    }
  }
}

async function copied(deps: WorkflowDeps, batch: CopyTask, signal: AbortSignal): Promise<CopyAnswer> {
  for (let task: CopyTask = batch; ;) {
    const current = task;
    const answer = await tried(deps, () => copyTask(deps, current, signal), signal);
    if (answer.outcome === 'done') return answer;
    await sleep(answer.waitSeconds * 1_000, signal);
    task = answer;
  }
}

/** Tries again what the state machine would. */
async function tried<T>(
  { retryWaitMs = USUAL_WAIT_MS }: WorkflowDeps,
  task: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await task();
    } catch (error) {
      signal.throwIfAborted();
      const again = error instanceof TaskError && error.retryable && error.name !== PLAN_AGAIN;
      if (!again || tries >= (error.name === LEASE_HELD ? HELD_TRIES : TRIES)) throw error;
      await sleep(Math.random() * Math.min(LONGEST_WAIT_MS, retryWaitMs * 2 ** tries), signal);
    }
  }
}
