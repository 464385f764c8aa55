import {
  StateMachine,
  type RunOptions,
  type StateMachineDefinition,
  ExecutionError,
  ExecutionTimeoutError,
} from 'aws-local-stepfunctions';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { brokenLimit, eventsOf, jsonBytes, MOST_STATE_BYTES } from './limits.ts';

/** The answer of a Lambda function, or the error that Step Functions gets. `Lambda.TooManyRequestsException` and the like come from the service. */
export type Invoked = { readonly payload: unknown } | { readonly errorType: string; readonly errorMessage: string };

/**
 * Calls a function. The signal fires when the endpoint closes, not when the execution is stopped: then a function keeps running, as on AWS.
 */
export type Invoke = (functionName: string, payload: unknown, signal: AbortSignal) => Promise<Invoked>;

/** How an execution ended. */
export type Ending =
  | { readonly status: 'SUCCEEDED'; readonly output: string }
  | { readonly status: 'FAILED'; readonly error: string; readonly cause: string }
  | { readonly status: 'TIMED_OUT' }
  | { readonly status: 'ABORTED'; readonly error?: string; readonly cause?: string };

/** One execution under way. */
export interface Run {
  /** Never rejects. */
  readonly ending: Promise<Ending>;
  /** History events so far, counted as AWS writes them. */
  events(): number;
  /** Running functions are left alone. Does nothing after the end. */
  stop(error?: string, cause?: string): void;
}

/** Milliseconds in place of those of the definition, by the name of the state; for tests. */
export type Haste = Pick<NonNullable<RunOptions['overrides']>, 'waitTimeOverrides' | 'retryIntervalOverrides'>;

export interface Machine {
  run(input: string, context: NonNullable<RunOptions['context']>): Run;
}

interface State {
  readonly Type: string;
  readonly TimeoutSeconds?: number;
  readonly TimeoutSecondsPath?: string;
  readonly ItemProcessor?: States;
  readonly Branches?: readonly States[];
}
interface States {
  readonly States: Readonly<Record<string, State>>;
}

/** Tasks without a time-out wait for ever on AWS, but 60 s in the interpreter. This is the most that its timers take. */
const NO_TIMEOUT_SECONDS = 2_000_000;

/** Shared by all executions of one machine. */
interface Ground {
  readonly machine: StateMachine;
  /** Each task state with the Map states around it. */
  readonly tasks: ReadonlyMap<string, readonly string[]>;
  readonly invoke: Invoke;
  readonly haste: Haste;
  readonly closed: AbortSignal;
}

/** Checked definitions of this process: checking one takes longer than a short execution. */
const foundRight = new Set<string>();

/**
 * The state machine in this process, interpreted by `aws-local-stepfunctions` and held to the limits of AWS. Every task state must be
 * `arn:aws:states:::lambda:invoke`.
 *
 * @throws Error listing what is wrong with the definition.
 */
export function openMachine(definition: object, invoke: Invoke, haste: Haste, closed: AbortSignal): Machine {
  const states = definition as States;
  const text = JSON.stringify(definition);
  const machine = new StateMachine(withTimeouts(states) as StateMachineDefinition & States, {
    validationOptions: { noValidate: foundRight.has(text) },
  });
  foundRight.add(text);
  const ground = { machine, tasks: taskNames(states), invoke, haste, closed };
  return { run: (input, context) => startRun(ground, input, context) };
}

function startRun(
  { machine, tasks, invoke, haste, closed }: Ground,
  input: string,
  context: NonNullable<RunOptions['context']>,
): Run {
  /** Map states whose items must stop. */
  const broken = new Set<string>();
  let stopped: Ending | undefined;
  let isOver = false;
  let events = 0;

  const isHalted = (maps: readonly string[]): boolean =>
    isOver || stopped !== undefined || maps.some((map) => broken.has(map));
  const handlers = [...tasks].map(([name, maps]) => [
    name,
    (given: Parameters<typeof callTask>[0]) => callTask(given, () => isHalted(maps), invoke, closed),
  ]);
  const run = machine.run(JSON.parse(input) as never, {
    overrides: { ...haste, taskResourceLocalHandlers: Object.fromEntries(handlers) as never },
    context,
  });
  const stop = (ending: Ending): void => {
    if (isOver || stopped !== undefined) return;
    stopped = ending;
    run.abort();
  };
  const watched = watch();
  return {
    ending: finish(),
    events: () => events,
    stop: (error, cause) =>
      stop({ status: 'ABORTED', ...(error === undefined ? {} : { error }), ...(cause === undefined ? {} : { cause }) }),
  };

  async function watch(): Promise<void> {
    for await (const event of run.eventLogs) {
      if ('state' in event && event.state.type === 'Map') {
        if (event.type === 'StateFailed') broken.add(event.state.name);
        if (event.type === 'StateEntered' || event.type === 'StateRetried') broken.delete(event.state.name);
      }
      events += eventsOf(event);
      const limit = brokenLimit(event, events);
      if (limit !== undefined) stop({ status: 'FAILED', ...limit });
    }
  }

  async function finish(): Promise<Ending> {
    const ending = await endingOf(run.result);
    isOver = true;
    await watched;
    return stopped ?? ending;
  }
}

/** @throws TaskFailed; Halted if the branch was abandoned. */
async function callTask(
  { FunctionName: name, Payload: payload }: { readonly FunctionName: string; readonly Payload: unknown },
  isHalted: () => boolean,
  invoke: Invoke,
  closed: AbortSignal,
): Promise<{ readonly Payload: unknown }> {
  // After the next turn all events of the interpreter are handled. Unlike AWS, it continues a Map's other items after one failed, and when it is stopped
  // it retries at once.
  await nextTurn();
  if (isHalted()) throw new Halted();
  const answer = await answerOf(invoke, name, payload, closed);
  if ('errorType' in answer) throw new TaskFailed(answer.errorType, answer.errorMessage);
  return { Payload: answer.payload ?? null };
}

async function endingOf(result: Promise<unknown>): Promise<Ending> {
  try {
    const output = JSON.stringify(await result);
    return { status: 'SUCCEEDED', output };
  } catch (error) {
    if (error instanceof ExecutionTimeoutError) return { status: 'TIMED_OUT' };
    const why = error instanceof ExecutionError ? (error.cause as Error) : (error as Error);
    return { status: 'FAILED', error: why.name, cause: why.message };
  }
}

async function answerOf(invoke: Invoke, name: string, payload: unknown, closed: AbortSignal): Promise<Invoked> {
  if (jsonBytes(payload) > MOST_STATE_BYTES) return tooLarge('payload', name);
  try {
    const answer = await invoke(name, payload, closed);
    return 'payload' in answer && jsonBytes(answer.payload) > MOST_STATE_BYTES ? tooLarge('answer', name) : answer;
  } catch (error) {
    // As if the service could not be reached.
    return { errorType: 'Lambda.SdkClientException', errorMessage: error instanceof Error ? error.message : 'unknown' };
  }
}

const tooLarge = (what: string, name: string): Invoked => ({
  errorType: 'States.DataLimitExceeded',
  errorMessage: `The ${what} of function ${name} is larger than ${MOST_STATE_BYTES} bytes`,
});

/** `Retry` and `Catch` match its name. Its message is the cause as AWS writes it: the error of a function as JSON. */
class TaskFailed extends Error {
  readonly isRetryable: boolean;
  readonly isCatchable: boolean;

  constructor(errorType: string, errorMessage: string) {
    const isOfService = errorType.startsWith('Lambda.') || errorType.startsWith('States.');
    super(isOfService ? errorMessage : JSON.stringify({ errorType, errorMessage, trace: [] }));
    this.name = errorType;
    this.isRetryable = errorType !== 'States.DataLimitExceeded';
    this.isCatchable = this.isRetryable;
  }
}

/** Ends an abandoned branch. */
class Halted extends Error {
  readonly isRetryable = false;
  readonly isCatchable = false;
}

/** Each task state with the Map states around it. */
function taskNames({ States }: States, around: readonly string[] = []): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const [name, state] of Object.entries(States)) {
    if (state.Type === 'Task') found.set(name, around);
    const inside = state.ItemProcessor === undefined ? [] : taskNames(state.ItemProcessor, [...around, name]);
    const beside = (state.Branches ?? []).flatMap((branch) => [...taskNames(branch, around)]);
    for (const [task, maps] of [...inside, ...beside]) found.set(task, maps);
  }
  return found;
}

function withTimeouts<T extends States>(states: T): T {
  const changed = Object.entries(states.States).map(([name, state]) => {
    if (state.ItemProcessor !== undefined)
      return [name, { ...state, ItemProcessor: withTimeouts(state.ItemProcessor) }];
    if (state.Branches !== undefined) return [name, { ...state, Branches: state.Branches.map(withTimeouts) }];
    const limited = state.TimeoutSeconds !== undefined || state.TimeoutSecondsPath !== undefined;
    return [name, state.Type !== 'Task' || limited ? state : { ...state, TimeoutSeconds: NO_TIMEOUT_SECONDS }];
  });
  return { ...states, States: Object.fromEntries(changed) as States['States'] };
}
