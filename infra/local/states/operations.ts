import type { Execution, Executions } from './executions.ts';
import { MOST_STATE_BYTES, StatesError } from './limits.ts';

type Parameters = Readonly<Record<string, unknown>>;
type Operation = (executions: Executions, parameters: Parameters) => Promise<object> | object;

/** 1 to 80 characters; none of: white space, brackets, wildcards, `" # % \ ^ | ~ ` $ & , ; : /`, control characters. */
const NAME = /^[^\s<>{}[\]?*"#%\\^|~`$&,;:/\p{Cc}]{1,80}$/u;
const STATUS = /^(RUNNING|SUCCEEDED|FAILED|TIMED_OUT|ABORTED|PENDING_REDRIVE)$/;
const MOST_RESULTS = 1_000;

/** The supported actions of Step Functions: https://docs.aws.amazon.com/step-functions/latest/apireference/API_Operations.html */
const OPERATIONS: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ['StartExecution', startExecution],
  ['DescribeExecution', describeExecution],
  ['StopExecution', stopExecution],
  ['ListExecutions', listExecutions],
]);

/**
 * Performs the request.
 *
 * @throws StatesError
 */
export async function perform(executions: Executions, target: string, body: string): Promise<object> {
  const operation = OPERATIONS.get(target.replace(/^AWSStepFunctions\./, ''));
  if (operation === undefined || !target.startsWith('AWSStepFunctions.')) {
    throw new StatesError('UnknownOperationException', `the embedded Step Functions has no ${target.slice(0, 100)}`);
  }
  const parameters = jsonOf(body, 'SerializationException');
  if (typeof parameters !== 'object' || parameters === null) {
    throw new StatesError('SerializationException', 'the body of the request must be a JSON object');
  }
  return await operation(executions, parameters as Parameters);
}

function startExecution(executions: Executions, parameters: Parameters): object {
  checkMachine(executions, parameters);
  const name = text(parameters, 'name') ?? crypto.randomUUID();
  if (!NAME.test(name)) throw new StatesError('InvalidName', `Invalid Name: '${name.slice(0, 100)}'`);
  const input = text(parameters, 'input') ?? '{}';
  if (Buffer.byteLength(input) > MOST_STATE_BYTES) {
    throw new StatesError('InvalidExecutionInput', `Invalid State Machine Execution Input: 'above 256 KiB'`);
  }
  jsonOf(input, 'InvalidExecutionInput');
  const { executionArn, startedMs } = executions.start(name, input);
  return { executionArn, startDate: startedMs / 1000 };
}

function describeExecution(executions: Executions, parameters: Parameters): object {
  const { input, output, error, cause, ...execution } = executions.describe(arn(parameters, 'executionArn'));
  return { ...entry(execution), input, output, error, cause };
}

async function stopExecution(executions: Executions, parameters: Parameters): Promise<object> {
  const [error, cause] = [text(parameters, 'error'), text(parameters, 'cause')];
  const { endedMs = Date.now() } = await executions.stop(arn(parameters, 'executionArn'), error, cause);
  return { stopDate: endedMs / 1000 };
}

function listExecutions(executions: Executions, parameters: Parameters): object {
  checkMachine(executions, parameters);
  const status = text(parameters, 'statusFilter');
  if (status !== undefined && !STATUS.test(status)) {
    throw new StatesError(
      'ValidationException',
      `statusFilter ${JSON.stringify(status.slice(0, 100))} is not a status`,
    );
  }
  const asked = parameters.maxResults ?? 100;
  if (!Number.isInteger(asked) || Number(asked) < 0 || Number(asked) > MOST_RESULTS) {
    throw new StatesError('ValidationException', `maxResults must be 0 to ${MOST_RESULTS}`);
  }
  const count = Number(asked) === 0 ? 100 : Number(asked);
  const token = text(parameters, 'nextToken');
  const matching = executions.list().filter((execution) => status === undefined || execution.status === status);
  // The last execution of the previous page: newer ones come before it.
  const from = token === undefined ? 0 : matching.findIndex(({ executionArn }) => executionArn === token) + 1;
  if (token !== undefined && from === 0) throw new StatesError('InvalidToken', `Invalid Token: '${token}'`);
  const page = matching.slice(from, from + count);
  const nextToken = from + count < matching.length ? page.at(-1)?.executionArn : undefined;
  return { executions: page.map(entry), nextToken };
}

const entry = ({
  executionArn,
  stateMachineArn,
  name,
  status,
  startedMs,
  endedMs,
}: Omit<Execution, 'input'>): object => ({
  executionArn,
  stateMachineArn,
  name,
  status,
  startDate: startedMs / 1000,
  stopDate: endedMs === undefined ? undefined : endedMs / 1000,
});

function checkMachine(executions: Executions, parameters: Parameters): void {
  const asked = arn(parameters, 'stateMachineArn');
  if (asked === executions.stateMachineArn) return;
  throw new StatesError('StateMachineDoesNotExist', `State Machine Does Not Exist: '${asked}'`);
}

function arn(parameters: Parameters, name: string): string {
  const value = text(parameters, name);
  if (value?.startsWith('arn:') === true) return value;
  throw new StatesError('InvalidArn', `Invalid Arn: '${(value ?? '').slice(0, 256)}'`);
}

function text(parameters: Parameters, name: string): string | undefined {
  const value = parameters[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  throw new StatesError('SerializationException', `${name} must be a string`);
}

function jsonOf(body: string, code: 'SerializationException' | 'InvalidExecutionInput'): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new StatesError(code, `not JSON: ${(error as Error).message}`);
  }
}
