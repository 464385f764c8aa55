import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  ListExecutionsCommand,
  StartExecutionCommand,
  type SFNClient,
} from '@aws-sdk/client-sfn';
import { CacheError, JobUnavailableError } from '../errors/cache-error.ts';
import type { Executions } from './executions.ts';

const MOST_PAGES = 10;
const PAGE_SIZE = 1_000;
/** Errors with a client's status that pass: too much at once. */
const PASSING = /Throttl|TooManyRequests|LimitExceeded|Timeout|Unavailable/;

/** The executions of one standard state machine of Step Functions, by its ARN. */
export function sfnExecutions({ client, stateMachine }: { client: SFNClient; stateMachine: string }): Executions {
  const arnOf = (id: string): string => `${stateMachine.replace(':stateMachine:', ':execution:')}:${id}`;
  return {
    async start(id, signal) {
      // The same name with the same input, byte for byte, is accepted again while it runs.
      const command = new StartExecutionCommand({
        stateMachineArn: stateMachine,
        name: id,
        input: JSON.stringify({ id }),
      });
      const started = await send(`start the workflow of pull ${id}`, signal, ExecutionAlreadyExists, () =>
        client.send(command, { abortSignal: signal }),
      );
      return started === undefined ? 'over' : 'started';
    },

    async look(id, signal) {
      const command = new DescribeExecutionCommand({ executionArn: arnOf(id) });
      const found = await send(`look at the workflow of pull ${id}`, signal, ExecutionDoesNotExist, () =>
        client.send(command, { abortSignal: signal }),
      );
      if (found === undefined) return 'gone';
      return found.status === 'RUNNING' ? 'running' : 'over';
    },

    async oldestStartMs(signal) {
      let oldestMs: number | undefined;
      let nextToken: string | undefined;
      for (let page = 1; page <= MOST_PAGES; page++) {
        const command = new ListExecutionsCommand({
          stateMachineArn: stateMachine,
          statusFilter: 'RUNNING',
          maxResults: PAGE_SIZE,
          ...(nextToken === undefined ? {} : { nextToken }),
        });
        const answer = await send('list the running workflows', signal, undefined, () =>
          client.send(command, { abortSignal: signal }),
        );
        // The most recent come first.
        oldestMs = answer?.executions?.at(-1)?.startDate?.getTime() ?? oldestMs;
        nextToken = answer?.nextToken;
        if (nextToken === undefined) break;
      }
      return oldestMs;
    },
  };
}

/** The answer, or undefined where it is the one error that is an answer too. An abort is the signal's reason. */
async function send<T>(
  op: string,
  signal: AbortSignal,
  expected: (abstract new (...given: never[]) => Error) | undefined,
  request: () => Promise<T>,
): Promise<T | undefined> {
  signal.throwIfAborted();
  try {
    return await request();
  } catch (error) {
    signal.throwIfAborted();
    if (expected !== undefined && error instanceof expected) return undefined;
    throw failed(op, error);
  }
}

function failed(op: string, error: unknown): CacheError {
  // AWS's own words name the account and the role: they are in the cause, for the log.
  const { name = 'unknown error', $fault } = error as { name?: string; $fault?: string };
  if ($fault !== 'client' || PASSING.test(name)) {
    return new JobUnavailableError(op, `Step Functions failed to ${op}: ${name}; try again`, error);
  }
  return new CacheError(`Step Functions refused to ${op}: ${name}; trying again will not help`, {
    op,
    origin: 'catalog',
    retryable: false,
    cause: error,
  });
}
