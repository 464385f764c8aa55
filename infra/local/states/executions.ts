import { openMachine, type Ending, type Haste, type Invoke, type Run } from './machine.ts';
import { StatesError } from './states-error.ts';

export type ExecutionStatus = 'RUNNING' | Ending['status'];

/** An execution, as its descriptions and its status-change events tell it. */
export interface Execution {
  readonly executionArn: string;
  readonly stateMachineArn: string;
  readonly name: string;
  readonly status: ExecutionStatus;
  readonly startedMs: number;
  readonly endedMs?: number;
  /** JSON, as it was given. */
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
  /** Told of each execution that begins. Must not throw. */
  readonly onStarted?: (execution: Execution) => void;
  /** Told once for each execution that ended, whatever ended it. Must not throw. */
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
  /** Ends everything: executions vanish without a word, functions are told by their signal and waited for. */
  close(): Promise<void>;
}

const MACHINE = 'arn:aws:states:us-east-1:000000000000:stateMachine:entrepot';
const EXECUTION_PREFIX = 'arn:aws:states:us-east-1:000000000000:execution:entrepot:';
/** Of those that ended, so many are remembered. AWS keeps them for 90 days. */
const MOST_ENDED = 10_000;

/** The executions of one state machine, in memory. When the process ends they are gone. */
export function openExecutions({ definition, invoke, onStarted, onEnded, haste = {} }: ExecutionsOptions): Executions {
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

  return {
    stateMachineArn: MACHINE,
    describe,

    start(name, input) {
      const executionArn = `${EXECUTION_PREFIX}${name}`;
      const before = known.get(executionArn);
      if (before?.status === 'RUNNING' && before.input === input) return before;
      if (before !== undefined) {
        throw new StatesError('ExecutionAlreadyExists', `Execution Already Exists: '${executionArn}'`);
      }
      const startedMs = Date.now();
      const execution = { executionArn, stateMachineArn: MACHINE, name, startedMs, input, events: 0 };
      known.set(executionArn, { ...execution, status: 'RUNNING' });
      const run = machine.run(input, {
        Execution: { Id: executionArn, Name: name },
        StateMachine: { Id: MACHINE, Name: 'entrepot' },
      });
      onStarted?.(describe(executionArn));
      runs.set(executionArn, { run, done: end(executionArn, run) });
      return describe(executionArn);
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
    if (!closing.signal.aborted) onEnded?.(execution);
  }

  /** A function may outlive the execution that called it, but not the endpoint. */
  function tracked(...call: Parameters<Invoke>): ReturnType<Invoke> {
    const invocation = invoke(...call).finally(() => invocations.delete(invocation));
    invocations.add(invocation);
    return invocation;
  }
}
