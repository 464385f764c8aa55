import { StopExecutionCommand } from '@aws-sdk/client-sfn';
import assert from 'node:assert/strict';
import { startStates, type Execution, type Haste, type Invoked } from '../../../infra/local/states/states.ts';
import { workflowDefinition } from '../../../infra/workflow.ts';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import type { JobDeps, Jobs } from '../../../lib/jobs/jobs.ts';
import { isEnded, type PullRecord } from '../../../lib/jobs/pull-record.ts';
import { sfnJobs } from '../../../lib/jobs/sfn-jobs.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { Services } from '../../../lib/services.ts';
import type { Announcement } from '../../../lib/jobs/announcer.ts';
import type { MetricName } from '../../../lib/telemetry/telemetry.ts';
import { copyTask } from '../../../lib/jobs/copy-task.ts';
import { failTask, publishTask } from '../../../lib/jobs/publish-task.ts';
import { planTask } from '../../../lib/jobs/plan-task.ts';
import type { PullOptions } from '../../support/cache.ts';
import { sfnClientAt } from '../../support/state-machine.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { startPullBench, type PullBench, type PullBenchOptions } from '../pull/pull-bench.ts';

export type TaskName = 'plan' | 'copy' | 'publish' | 'fail';
type Task = (deps: JobDeps, event: unknown, signal: AbortSignal) => Promise<unknown>;

const TASKS: Readonly<Record<TaskName, Task>> = {
  plan: planTask,
  copy: copyTask,
  publish: publishTask,
  fail: failTask,
};

/** What happens to one invocation of a function, from a test's point of view. */
export interface Meddling {
  /** Before the function is called; an answer here is Lambda's own, and the function is not called. */
  before?: (name: TaskName, payload: unknown) => Promise<Invoked | undefined> | Invoked | undefined;
  /** After it answered; an answer here replaces the function's. */
  after?: (name: TaskName, payload: unknown, answer: unknown) => Promise<Invoked | undefined> | Invoked | undefined;
  /** Until the deadline of an invocation. */
  taskMs?: (name: TaskName) => number;
  /** That deadline, where a test decides when it has come. */
  isOver?: () => AbortSignal;
}

/** A cache with its state machine: the tasks run in this process, everything else is real. */
export interface WorkflowBench extends AsyncDisposable {
  readonly pull: PullBench;
  readonly services: Services;
  readonly deps: JobDeps;
  readonly jobs: Jobs;
  /** Every call of a function. */
  readonly calls: { readonly name: TaskName; readonly payload: unknown }[];
  readonly announced: Announcement[];
  readonly counted: Map<MetricName, number>;
  readonly executions: Execution[];
  meddling: Meddling;
  /** Starts the pull, or joins one. */
  start(reference: string, options?: PullOptions): Promise<PullRecord>;
  /** Waits for its end, and for that of its execution. */
  ended(record: PullRecord): Promise<PullRecord>;
  /** From the request to the receipt. */
  succeeds(reference: string, options?: PullOptions): Promise<Receipt>;
  fails(reference: string, options?: PullOptions): Promise<PullRecord>;
  stop(record: PullRecord): Promise<void>;
  countOf(name: TaskName): number;
  /** Does it with other dependencies of the tasks. */
  having<T>(others: Partial<JobDeps>, work: () => Promise<T>): Promise<T>;
}

const HASTE: Haste = {
  retryIntervalOverrides: { Plan: 20, Copy: 20, Publish: 20, Fail: 20 },
  waitTimeOverrides: { Wait: 20 },
};

export async function startWorkflowBench(options: PullBenchOptions = {}): Promise<WorkflowBench> {
  const pull = await startPullBench(options);
  const { services } = pull.cache;
  const announced: Announcement[] = [];
  const counted = new Map<MetricName, number>();
  const deps: JobDeps = {
    pull: services.pull,
    records: services.records,
    leases: services.workflowLeases,
    plans: services.plans,
    announcer: { announce: (one) => Promise.resolve(void announced.push(one)) },
    metrics: { add: (name, value) => void counted.set(name, (counted.get(name) ?? 0) + value) },
    retryWaitMs: 20,
  };
  let taskDeps = deps;
  const calls: WorkflowBench['calls'] = [];
  const executions: Execution[] = [];

  const invoke = async (name: string, payload: unknown): Promise<Invoked> => {
    const called = name as TaskName;
    calls.push({ name: called, payload });
    const refused = await bench.meddling.before?.(called, payload);
    if (refused !== undefined) return refused;
    const deadline = deadlineIn(bench.meddling.taskMs?.(called) ?? 60_000);
    try {
      const signals = [deadline.signal, ...(bench.meddling.isOver === undefined ? [] : [bench.meddling.isOver()])];
      const answer = await TASKS[called](taskDeps, payload, AbortSignal.any(signals));
      return (await bench.meddling.after?.(called, payload, answer)) ?? { payload: overTheWire(answer) };
    } catch (error) {
      return { errorType: (error as Error).name, errorMessage: (error as Error).message };
    } finally {
      deadline.stop();
    }
  };
  const states = await startStates({
    definition: localDefinition(),
    invoke,
    onEnded: (execution) => executions.push(execution),
    haste: HASTE,
  });
  const client = sfnClientAt(states.endpoint);
  const stateMachine = states.stateMachineArn;
  const bench: WorkflowBench = {
    pull,
    services,
    deps,
    jobs: sfnJobs({ records: deps.records, leases: deps.leases, client, stateMachine }),
    calls,
    announced,
    counted,
    executions,
    meddling: {},

    start: (reference, { platforms = [], alwaysPull = false, attestations = true } = {}) =>
      bench.jobs.start(
        {
          reference: parseReference(reference),
          platforms: platforms.map((text) => parsePlatform(text)),
          alwaysPull,
          attestations,
        },
        forever,
      ),

    async ended({ id }) {
      await until(() => executions.some(({ name }) => name === id), 60_000);
      const record = await deps.records.find(id, forever);
      assert.ok(record !== undefined && isEnded(record), `the execution ended, and the pull is ${record?.state}`);
      return record;
    },

    async succeeds(reference, pullOptions) {
      const { receipt, failure } = await bench.ended(await bench.start(reference, pullOptions));
      assert.equal(failure, undefined);
      assert.ok(receipt !== undefined);
      assertAddsUp(receipt);
      const validation = await pull.cache.validate(reference, { platforms: pullOptions?.platforms ?? [], deep: true });
      assert.equal(validation.state, 'complete');
      await pull.assertClean();
      return receipt;
    },

    async fails(reference, pullOptions) {
      const record = await bench.ended(await bench.start(reference, pullOptions));
      assert.equal(record.state, 'failed');
      await pull.assertClean();
      return record;
    },

    async stop({ id }) {
      const executionArn = `${stateMachine.replace(':stateMachine:', ':execution:')}:${id}`;
      await client.send(new StopExecutionCommand({ executionArn }));
    },

    async having(others, work) {
      taskDeps = { ...deps, ...others };
      try {
        return await work();
      } finally {
        taskDeps = deps;
      }
    },

    countOf: (name) => calls.filter((call) => call.name === name).length,

    async [Symbol.asyncDispose]() {
      client.destroy();
      await states.close();
      await pull[Symbol.asyncDispose]();
    },
  };
  return bench;
}

/** The definition with its functions named as the tasks are. */
export function localDefinition(): object {
  const filled = JSON.stringify(workflowDefinition())
    .replaceAll('${Partition}', 'aws')
    .replace(/\$\{(\w+)FunctionArn\}/g, (_, name: string) => name.toLowerCase());
  return JSON.parse(filled) as object;
}

/** What a batch wrote into the record, in all. */
export const copiedBlobs = async (bench: WorkflowBench, { id }: PullRecord): Promise<number> =>
  (await bench.deps.records.find(id, forever))?.copied.blobs ?? 0;

const overTheWire = (answer: unknown): unknown => JSON.parse(JSON.stringify(answer)) as unknown;

function deadlineIn(ms: number): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DeadlineError('the time of this invocation is over')), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

function assertAddsUp(receipt: Receipt): void {
  for (const tally of [receipt.blobs, receipt.bytes]) {
    assert.equal(tally.present + tally.copied + tally.copiedElsewhere, tally.total);
  }
  const { total, ...kinds } = receipt.registryRequests;
  assert.equal(
    Object.values(kinds).reduce((sum, count) => sum + count),
    total,
  );
}
