import { startDeadline } from '../../../lib/async/time.ts';
import { sleep } from '../../../lib/async/time.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import type { PullRequest } from '../../../lib/pull/pull-request.ts';
import type { Services } from '../../../lib/services.ts';
import { below } from '../../support/random.ts';
import { copyTask } from '../../../lib/jobs/copy-task.ts';
import { failTask, publishTask } from '../../../lib/jobs/publish-task.ts';
import { planTask } from '../../../lib/jobs/plan-task.ts';
import { PLAN_AGAIN, TaskError } from '../../../lib/jobs/task-error.ts';
import type { CopyAnswer, CopyTask } from '../../../lib/jobs/tasks.ts';
import type { JobDeps } from '../../../lib/jobs/jobs.ts';

const TRIES = 20;
const MOST_BETWEEN_TRIES_MS = 100;
/** Of one invocation that copies: some end in the middle of their work. */
const LONGEST_COPY_MS = 2_000;

/** As Step Functions carries what the tasks give each other. */
const overTheWire = <T>(document: T): T => JSON.parse(JSON.stringify(document)) as T;

/**
 * Pulls as the state machine does (infra/workflow.ts): the real tasks one after the other, their documents as JSON between them, in haste. The lock may lapse from
 * one to the next. Undefined where another run is under way for the same request.
 */
export async function pullByWorkflow(
  { pull, records, plans }: Services,
  request: PullRequest,
  random: () => number,
  signal: AbortSignal,
): Promise<PullRecord | undefined> {
  const deps: JobDeps = {
    ...{ pull, records, plans, leases: pull.leases, lockPatienceMs: 2_000 },
    announcer: { announce: () => Promise.resolve() },
    metrics: { add: () => undefined },
  };
  const { record, created } = await records.join(request, signal);
  if (!created) return undefined;
  const { id } = record;
  const copied = async (batch: CopyTask): Promise<CopyAnswer> => {
    for (let task = batch; ;) {
      const current = task;
      const answer = await tried(signal, async () => {
        using deadline = startDeadline(1 + below(random, LONGEST_COPY_MS));
        return overTheWire(await copyTask(deps, current, AbortSignal.any([signal, deadline.signal])));
      });
      if (answer.outcome === 'done') return answer;
      task = answer;
    }
  };
  const planCopyPublish = async (): Promise<void> => {
    const planned = overTheWire(await tried(signal, () => planTask(deps, { id }, signal)));
    if (planned.outcome === 'done') return;
    const copying = planned.batches.map(copied);
    // Nothing runs on after the first failure.
    await Promise.allSettled(copying);
    const batches = await Promise.all(copying);
    await tried(signal, () => publishTask(deps, { id, plan: planned.plan, batches }, signal));
  };
  try {
    while (await isToBePlannedAgain(planCopyPublish));
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    const failure = { Error: error.name, Cause: JSON.stringify({ errorMessage: error.message }) };
    await tried(signal, () => failTask(deps, { id, error: failure }, signal));
  }
  return await records.find(id, signal);
}

async function isToBePlannedAgain(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof TaskError && error.name === PLAN_AGAIN) return true;
    throw error;
  }
}

async function tried<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await task();
    } catch (error) {
      const isPassing = error instanceof TaskError && error.retryable && error.name !== PLAN_AGAIN;
      if (!isPassing || tries === TRIES) throw error;
      await sleep(Math.random() * MOST_BETWEEN_TRIES_MS, signal);
    }
  }
}
