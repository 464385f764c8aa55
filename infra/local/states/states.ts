import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openExecutions, type Execution, type Executions, type ExecutionsOptions } from './executions.ts';
import { perform } from './operations.ts';
import { StatesError } from './limits.ts';
import { closeServer } from '../processes.ts';

export type { Execution } from './executions.ts';
export type { Haste, Invoke, Invoked } from './machine.ts';

export interface StatesOptions extends ExecutionsOptions {
  /** Default 0: any free port. */
  readonly port?: number;
}

/** A listening endpoint with one state machine. */
export interface States extends AsyncDisposable {
  readonly port: number;
  /** For AWS_ENDPOINT_URL_SFN. */
  readonly endpoint: string;
  readonly stateMachineArn: string;
  /** See {@link Executions.resume}: when the functions can be called. */
  resume(): void;
  /** Ends every connection and every running function. Running executions end without a status change, as if the process had died. */
  close(): Promise<void>;
}

const MOST_BODY_BYTES = 2 * 1024 * 1024;
const JSON_1_0 = 'application/x-amz-json-1.0';
/** Longer than any SDK keeps idle connections, so that none is closed under a new request. */
const KEEP_ALIVE_MS = 60_000;

/**
 * Step Functions on loopback, for the AWS SDK: StartExecution, DescribeExecution, StopExecution, ListExecutions of one standard state machine.
 *
 * With a `file`, running executions survive a restart. Others are unknown then (`ExecutionDoesNotExist`), which callers must treat as "not running".
 * Signatures are not verified. A web page cannot call it: browsers send a preflight request for this content type, which is not answered.
 *
 * @throws Error if the definition is invalid or the port is taken.
 */
export async function startStates({ port = 0, ...options }: StatesOptions): Promise<States> {
  const executions = openExecutions(options);
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (incoming, outgoing) => {
    void answer(executions, incoming, outgoing);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const listening = (server.address() as AddressInfo).port;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= end());
  return {
    port: listening,
    endpoint: `http://127.0.0.1:${listening}`,
    stateMachineArn: executions.stateMachineArn,
    resume: () => executions.resume(),
    close,
    [Symbol.asyncDispose]: close,
  };

  async function end(): Promise<void> {
    await Promise.all([closeServer(server), executions.close()]);
  }
}

/** Never rejects. */
async function answer(executions: Executions, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  try {
    const body = await read(incoming);
    const { 'content-type': type = '', 'x-amz-target': target = '' } = incoming.headers;
    if (incoming.method !== 'POST' || type !== JSON_1_0) {
      throw new StatesError(
        'UnknownOperationException',
        `POST with content-type ${JSON_1_0} is the only request supported here`,
      );
    }
    send(outgoing, 200, await perform(executions, String(target), body));
  } catch (error) {
    if (incoming.socket.destroyed) return; // The client disconnected.
    if (error instanceof StatesError) {
      send(outgoing, 400, { __type: error.code, message: error.message });
      return;
    }
    const fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`${JSON.stringify({ endpoint: 'states', fault })}\n`);
    send(outgoing, 500, { __type: 'InternalFailure', message: 'an internal error, see the log' });
  }
}

async function read(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MOST_BODY_BYTES)
      throw new StatesError('ValidationException', `the body is above ${MOST_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(outgoing: ServerResponse, status: number, body: object): void {
  outgoing.writeHead(status, { 'content-type': JSON_1_0, 'x-amzn-requestid': randomUUID() }).end(JSON.stringify(body));
}

/** The event that EventBridge delivers when the execution ended. */
export function statusChangeEvent(execution: Execution): object {
  const { executionArn, stateMachineArn, name, status, startedMs, endedMs = null, input } = execution;
  const { output = null, error = null, cause = null } = execution;
  const [, , , region, account] = executionArn.split(':');
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Step Functions Execution Status Change',
    source: 'aws.states',
    account,
    time: new Date(endedMs ?? startedMs).toISOString(),
    region,
    resources: [executionArn],
    detail: {
      executionArn,
      stateMachineArn,
      name,
      status,
      startDate: startedMs,
      stopDate: endedMs,
      input,
      output,
      inputDetails: { included: true },
      outputDetails: output === null ? null : { included: true },
      error,
      cause,
    },
  };
}
