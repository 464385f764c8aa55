import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  ListExecutionsCommand,
  SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { CacheError, JobUnavailableError } from '../errors/cache-error.ts';
import type { Leases } from '../lock/lease.ts';
import { formatReference } from '../reference/reference.ts';
import { endAbandoned, isAbandoned } from './ending.ts';
import type { Executions, Jobs } from './jobs.ts';
import type { PullRecord, PullRecords } from './pull-record.ts';

export interface SfnConnection {
  /** Overrides the endpoint of the SDK's own variables. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Default 4. */
  readonly maxAttempts?: number;
}

/**
 * A client for the workflow service. Endpoint, region and credentials come from the SDK's own variables unless `connection` says otherwise.
 *
 * A client waits for the answer, so timeouts are short. The SDK retries throttling, 5xx and resets with back-off.
 */
export function sfnClient(connection: SfnConnection = {}): SFNClient {
  return new SFNClient({
    maxAttempts: 4,
    ...connection,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 2_000,
      requestTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
}

const MOST_PAGES = 10;
const PAGE_SIZE = 1_000;
/** Client errors that are temporary: throttling and the like. */
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
      const found = await send(`describe the workflow of pull ${id}`, signal, ExecutionDoesNotExist, () =>
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

/** The answer; undefined for the `expected` error. An abort throws the signal's reason. */
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
  // The message of AWS names the account and the role: only the log gets it, as the cause.
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

/** A pull without a write for this time may be dead: tasks write more often while they copy. */
const SILENT_MS = 120_000;
/** Dead pulls in a row before this is an error: each was started and ended during this call. */
const STARTS = 3;

export interface SfnJobsOptions {
  readonly records: PullRecords;
  readonly leases: Pick<Leases, 'adopt'>;
  readonly client: SFNClient;
  /** ARN. */
  readonly stateMachine: string;
}

/** Pulls as executions of a state machine of Step Functions: the execution's name is the id of the pull, its input `{"id"}` alone. */
export function sfnJobs({ records, leases, client, stateMachine }: SfnJobsOptions): Jobs {
  const executions = sfnExecutions({ client, stateMachine });
  return {
    async start(request, signal) {
      for (let starts = 1; starts <= STARTS; starts++) {
        const { record } = await records.join(request, signal);
        if (await isRunning(executions, record, signal)) return record;
        const ended = await endAbandoned({ records, leases }, record.id, signal);
        // The workflow may have ended it itself meanwhile.
        if (!isAbandoned(ended)) return ended;
      }
      const op = `start the pull of ${formatReference(request.reference)}`;
      throw new JobUnavailableError(op, `${STARTS} workflows ended at once while trying to ${op}; try again later`);
    },
  };
}

/** Whether its execution runs, or was accepted just now. A caller that joins a queued pull starts it, because its creator may have died. */
async function isRunning(executions: Executions, record: PullRecord, signal: AbortSignal): Promise<boolean> {
  if (record.state === 'queued') {
    if ((await executions.start(record.id, signal)) === 'started') return true;
  } else if (Date.now() - record.updatedMs < SILENT_MS) {
    return true;
  }
  return (await executions.look(record.id, signal)) === 'running';
}
