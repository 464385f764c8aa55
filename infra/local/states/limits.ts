import type { StateMachine } from 'aws-local-stepfunctions';

export type StatesCode =
  | 'ExecutionAlreadyExists'
  | 'ExecutionDoesNotExist'
  | 'InvalidArn'
  | 'InvalidExecutionInput'
  | 'InvalidName'
  | 'InvalidToken'
  | 'SerializationException'
  | 'StateMachineDoesNotExist'
  | 'UnknownOperationException'
  | 'ValidationException';

/** An error of Step Functions: status 400 with its code. */
export class StatesError extends Error {
  readonly code: StatesCode;

  constructor(code: StatesCode, message: string) {
    super(message);
    this.name = 'StatesError';
    this.code = code;
  }
}

/** Events that the interpreter reports. */
export type InterpreterEvent =
  ReturnType<StateMachine['run']>['eventLogs'] extends AsyncGenerator<infer Event> ? Event : never;

/** Of the input and the output of a state, as JSON. */
export const MOST_STATE_BYTES = 256 * 1024;
/** Of one execution's history. */
const MOST_EVENTS = 25_000;

/** The execution exceeded a limit of Step Functions. It cannot be caught. */
export interface Limit {
  readonly error: string;
  readonly cause: string;
}

export const jsonBytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value ?? null));

export function brokenLimit(event: InterpreterEvent, events: number): Limit | undefined {
  if (events > MOST_EVENTS) {
    return {
      error: 'States.Runtime',
      cause: `The execution reached the maximum number of history events (${MOST_EVENTS}).`,
    };
  }
  if (event.type !== 'StateExited' || jsonBytes(event.state.output) <= MOST_STATE_BYTES) return undefined;
  return {
    error: 'States.DataLimitExceeded',
    cause: `The state '${event.state.name}' returned a result with a size exceeding the maximum number of bytes service limit.`,
  };
}

/** Events that AWS writes for one of the interpreter's: a task, for example, is entered, scheduled, started, succeeds and is left. */
export function eventsOf(event: InterpreterEvent): number {
  const type = 'state' in event ? event.state.type : undefined;
  switch (event.type) {
    case 'StateEntered':
      return type === 'Task' ? 3 : type === 'Map' || type === 'Parallel' ? 2 : 1;
    case 'StateExited':
      return type === 'Task' || type === 'Map' || type === 'Parallel' ? 2 : 1;
    case 'StateRetried':
      return type === 'Task' ? 2 : 1;
    default:
      return 1;
  }
}
