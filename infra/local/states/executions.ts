import { existsSync, readFileSync } from 'node:fs';
import { writePrivate } from '../home.ts';
import { openMachine, type Ending, type Haste, type Invoke, type Run } from './machine.ts';
import { StatesError } from './limits.ts';

export type ExecutionStatus = 'RUNNING' | Ending['status'];

/** An execution, with the fields of DescribeExecution and of status-change events. */
export interface Execution {
  readonly executionArn: string;
  readonly stateMachineArn: string;
  readonly name: string;
  readonly status: ExecutionStatus;
  readonly startedMs: number;
  readonly endedMs?: number;
  /** JSON, as received. */
  readonly input: string;
  readonly output?: string;
  readonly error?: string;
  readonly cause?: string;
  /** History events, counted as AWS writes them. */
  readonly events: number;
}

export interface ExecutionsOptions {
  /** In the Amazon States Language (JSONPath). */
  readonly definition: object;
  readonly invoke: Invoke;
  /** Keeps running executions, so that the next process can resume them. Without it they are in memory alone. */
  readonly file?: string;
  /** Called for each new execution. Must not throw. */
  readonly onStarted?: (execution: Execution) => void;
  /** Called once for each execution that ended, for whatever reason. Must not throw. */
  readonly onEnded?: (execution: Execution) => void;
  readonly haste?: Haste;
}

export interface Executions {
  readonly stateMachineArn: string;
  /** @throws StatesError ExecutionAlreadyExists */
  start(name: string, input: string): Execution;
  /** @throws StatesError ExecutionDoesNotExist */
  describe(executionArn: string): Execution;
  /** @throws StatesError ExecutionDoesNotExist */
  stop(executionArn: string, error: string | undefined, cause: string | undefined): Promise<Execution>;
  /** The most recent first. */
  list(): Execution[];
  /** Restarts, under their names, the executions that ran when the last process with this file ended. On AWS an execution outlives every process. */
  resume(): void;
  /** Ends everything without a status change: executions stay in the file, functions are aborted and awaited. */
  close(): Promise<void>;
}

/** Of the one state machine. */
export const STATE_MACHINE_ARN = 'arn:aws:states:us-east-1:000000000000:stateMachine:entrepot';
const EXECUTION_PREFIX = 'arn:aws:states:us-east-1:000000000000:execution:entrepot:';
/** Ended executions that are remembered. AWS keeps them for 90 days. */
const MOST_ENDED = 10_000;

/** What the file keeps of a running execution. */
type Kept = Pick<Execution, 'name' | 'input'>;

/** The executions of one state machine. Those that ended are in memory alone. */
export function openExecutions(options: ExecutionsOptions): Executions {
  const { definition, invoke, file, onStarted, onEnded, haste = {} } = options;
  const closing = new AbortController();
  const invocations = new Set<Promise<unknown>>();
  const machine = openMachine(definition, tracked, haste, closing.signal);
  const known = new Map<string, Execution>();
  const runs = new Map<string, { readonly run: Run; readonly done: Promise<void> }>();

  const describe = (executionArn: string): Execution => {
    const execution = known.get(executionArn);
    if (execution === undefined) {
      throw new StatesError('ExecutionDoesNotExist', `Execution Does Not Exist: '${executionArn}'`);
    }
    return { ...execution, events: runs.get(executionArn)?.run.events() ?? execution.events };
  };

  const unfinished = new Map((file === undefined ? [] : readKept(file)).map((kept) => [kept.name, kept]));
  const keep = (): void => {
    if (file !== undefined) writePrivate(file, [...unfinished.values()]);
  };

  const start = (name: string, input: string): Execution => {
    const executionArn = `${EXECUTION_PREFIX}${name}`;
    const before = known.get(executionArn);
    if (before?.status === 'RUNNING' && before.input === input) return before;
    if (before !== undefined) {
      throw new StatesError('ExecutionAlreadyExists', `Execution Already Exists: '${executionArn}'`);
    }
    const startedMs = Date.now();
    const execution = { executionArn, stateMachineArn: STATE_MACHINE_ARN, name, startedMs, input, events: 0 };
    unfinished.set(name, { name, input });
    keep();
    known.set(executionArn, { ...execution, status: 'RUNNING' });
    const run = machine.run(input, {
      Execution: { Id: executionArn, Name: name },
      StateMachine: { Id: STATE_MACHINE_ARN, Name: 'entrepot' },
    });
    onStarted?.(describe(executionArn));
    runs.set(executionArn, { run, done: end(executionArn, run) });
    return describe(executionArn);
  };

  return {
    stateMachineArn: STATE_MACHINE_ARN,
    describe,
    start,

    resume() {
      for (const { name, input } of [...unfinished.values()]) start(name, input);
    },

    async stop(executionArn, error, cause) {
      describe(executionArn);
      const running = runs.get(executionArn);
      running?.run.stop(error, cause);
      await running?.done;
      return describe(executionArn);
    },

    list: () => [...known.values()].reverse(),

    async close() {
      closing.abort(new Error('the state machine endpoint was closed'));
      const ended = [...runs.values()].map(({ run, done }) => {
        run.stop();
        return done;
      });
      await Promise.all(ended);
      await Promise.allSettled(invocations);
    },
  };

  async function end(executionArn: string, run: Run): Promise<void> {
    const ending = await run.ending;
    const execution = { ...describe(executionArn), ...ending, endedMs: Date.now() };
    runs.delete(executionArn);
    known.set(executionArn, execution);
    const ended = [...known.values()].filter(({ status }) => status !== 'RUNNING');
    if (ended.length > MOST_ENDED && ended[0] !== undefined) known.delete(ended[0].executionArn);
    if (closing.signal.aborted) return;
    unfinished.delete(execution.name);
    onEnded?.(execution);
    try {
      keep();
    } catch (error) {
      // It would start again in the next process, which is harmless: see lib/jobs/tasks.ts.
      process.stderr.write(`${JSON.stringify({ endpoint: 'states', fault: String(error) })}\n`);
    }
  }

  /** A function may outlive its execution, but not the endpoint. */
  function tracked(...call: Parameters<Invoke>): ReturnType<Invoke> {
    const invocation = invoke(...call).finally(() => invocations.delete(invocation));
    invocations.add(invocation);
    return invocation;
  }
}

/** An unreadable file counts as empty: the next request for one of its pulls starts it again. */
function readKept(file: string): readonly Kept[] {
  if (!existsSync(file)) return [];
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as unknown;
    return Array.isArray(kept) ? kept.filter(isKept) : [];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

const isKept = (value: unknown): value is Kept =>
  typeof value === 'object' &&
  value !== null &&
  'name' in value &&
  typeof value.name === 'string' &&
  'input' in value &&
  typeof value.input === 'string';
