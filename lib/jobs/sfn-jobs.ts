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
  /** Where the state machine is, if not where the SDK's own variables say. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** 4 where this does not say it. */
  readonly maxAttempts?: number;
}

/**
 * A client for the workflow service. Endpoint, region and credentials come from the SDK's own variables unless `connection` says otherwise.
 *
 * Somebody waits for the answer, so time-outs are short; the SDK retries throttling, 5xx and resets with back-off.
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

/** A pull that wrote nothing for so long may be dead: tasks write more often while they copy, and waits are few. */
const SILENT_MS = 120_000;
/** Pulls found dead in a row, before it is an error: each of them was started, and ended, since this call began. */
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
        if (await isCarriedOut(executions, record, signal)) return record;
        const ended = await endAbandoned({ records, leases }, record.id, signal);
        // The workflow may have ended it itself since we looked: then this is the answer.
        if (!isAbandoned(ended)) return ended;
      }
      const op = `start the pull of ${formatReference(request.reference)}`;
      throw new JobUnavailableError(op, `${STARTS} workflows ended at once while trying to ${op}; try again later`);
    },
  };
}

/** Whether an execution of it runs, or was accepted just now. Whoever joins a pull that is still queued starts it, because its creator may have died. */
async function isCarriedOut(executions: Executions, record: PullRecord, signal: AbortSignal): Promise<boolean> {
  if (record.state === 'queued') {
    if ((await executions.start(record.id, signal)) === 'started') return true;
  } else if (Date.now() - record.updatedMs < SILENT_MS) {
    return true;
  }
  return (await executions.look(record.id, signal)) === 'running';
}
