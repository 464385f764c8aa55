import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readBounded, TooLongError } from './read-bounded.ts';
import { closeServer } from '../processes.ts';

/*
 * The Runtime API of one execution environment: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 *
 *   environment                         this server
 *     │  GET …/invocation/next  ───────►  held until there is an event
 *     │  ◄───────────────── event, id, deadline
 *     │  POST …/invocation/ID/response ►  202, and the event is answered     (or …/ID/error)
 *     └─ GET …/invocation/next  ───────►  …
 *
 * An environment handles one event at a time.
 */

/** The failure of a handler, or of its process, as the caller gets it. */
export interface FunctionError {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly stackTrace?: readonly string[];
}

/** How an invocation ended. */
export type Outcome =
  { readonly kind: 'answered'; readonly payload: Buffer } | { readonly kind: 'failed'; readonly error: FunctionError };

/** One event for an environment. */
export interface Invocation {
  readonly requestId: string;
  readonly functionArn: string;
  /** When Lambda will kill the environment, in epoch milliseconds. */
  readonly deadlineMs: number;
  /** JSON. */
  readonly payload: Uint8Array;
}

export interface RuntimeApi extends AsyncDisposable {
  /** `127.0.0.1:PORT`: AWS_LAMBDA_RUNTIME_API. */
  readonly address: string;
  /** Settles when the environment first asks for an event, or with the error of its start. Never, if it dies before. */
  readonly initialised: Promise<FunctionError | undefined>;
  /** Gives the event to the environment, now or when it asks. One at a time. Never settles if the environment dies. */
  invoke(invocation: Invocation): Promise<Outcome>;
  /** Ends every connection. Idempotent. */
  close(): Promise<void>;
}

/** Lambda's bound of a synchronous answer: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
export const MAX_PAYLOAD_BYTES = 6_291_556;
const ROUTE = /^\/2018-06-01\/runtime\/(?:init\/(error)|invocation\/(?:(next)|([^/]+)\/(response|error)))$/;

interface Running {
  readonly invocation: Invocation;
  readonly settle: (outcome: Outcome) => void;
}

/** Serves the Runtime API of one environment on a loopback port of its own. */
export async function startRuntimeApi(): Promise<RuntimeApi> {
  const initialised = Promise.withResolvers<FunctionError | undefined>();
  /** The environment's open request for an event. */
  let waiting: ServerResponse | undefined;
  let running: Running | undefined;
  let handedOut = false;

  const handOut = (): void => {
    if (waiting === undefined || running === undefined || handedOut) return;
    const { invocation } = running;
    handedOut = true;
    waiting.writeHead(200, {
      'content-type': 'application/json',
      'content-length': invocation.payload.byteLength,
      'lambda-runtime-aws-request-id': invocation.requestId,
      'lambda-runtime-deadline-ms': invocation.deadlineMs,
      'lambda-runtime-invoked-function-arn': invocation.functionArn,
      'lambda-runtime-trace-id': traceIdOf(invocation),
    });
    waiting.end(invocation.payload);
    waiting = undefined;
  };

  const next = (response: ServerResponse): void => {
    initialised.resolve(undefined);
    waiting = response;
    response.once('close', () => {
      if (waiting === response) waiting = undefined;
    });
    handOut();
  };

  const finish = async (request: IncomingMessage, response: ServerResponse, id: string, kind: string) => {
    const body = await readBounded(request, MAX_PAYLOAD_BYTES).catch((error: unknown) => {
      if (error instanceof TooLongError) return error;
      throw error;
    });
    if (running?.invocation.requestId !== id) {
      refuse(response, 400, 'InvalidRequestID', `no event ${id} is being worked on`);
      return;
    }
    const { settle } = running;
    running = undefined;
    if (body instanceof TooLongError) {
      refuse(
        response,
        413,
        'RequestEntityTooLarge',
        `Exceeded maximum allowed payload size (${MAX_PAYLOAD_BYTES} bytes).`,
      );
      settle({
        kind: 'failed',
        error: {
          errorType: 'Function.ResponseSizeTooLarge',
          errorMessage: `Response payload size exceeded maximum allowed payload size (${MAX_PAYLOAD_BYTES} bytes).`,
        },
      });
      return;
    }
    accept(response);
    settle(
      kind === 'response' ? { kind: 'answered', payload: body } : { kind: 'failed', error: functionErrorOf(body) },
    );
  };

  const route = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const match = ROUTE.exec(request.url ?? '');
    const [, initError, isNext, id = '', kind = ''] = match ?? [];
    if (isNext !== undefined && request.method === 'GET') {
      next(response);
    } else if (initError !== undefined && request.method === 'POST') {
      const error = functionErrorOf(await readBounded(request, MAX_PAYLOAD_BYTES));
      accept(response);
      initialised.resolve(error);
    } else if (kind !== '' && request.method === 'POST') {
      await finish(request, response, decodeURIComponent(id), kind);
    } else {
      refuse(response, 404, 'NotFound', `${request.method} ${request.url} is no call of the Runtime API`);
    }
  };

  // An environment keeps its connection while it handles an event.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    // The environment was killed: its process is watched, not its connections.
    route(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): Promise<void> => closeServer(server);
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    initialised: initialised.promise,
    invoke: (invocation) => {
      if (running !== undefined) throw new Error(`the environment is still handling ${running.invocation.requestId}`);
      const { promise, resolve } = Promise.withResolvers<Outcome>();
      running = { invocation, settle: resolve };
      handedOut = false;
      handOut();
      return promise;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** X-Ray's header, not sampled. */
function traceIdOf({ requestId, deadlineMs }: Invocation): string {
  const seconds = Math.floor(deadlineMs / 1000).toString(16);
  return `Root=1-${seconds}-${requestId.replaceAll('-', '').slice(0, 24)};Sampled=0`;
}

/** The error that the environment reported, in whatever form. */
function functionErrorOf(body: Buffer): FunctionError {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    value = undefined; // Not JSON: the text is the message.
  }
  const { errorType, errorMessage, stackTrace } = (
    typeof value === 'object' && value !== null ? value : { errorMessage: body.toString('utf8') }
  ) as Record<string, unknown>;
  return {
    errorType: typeof errorType === 'string' && errorType !== '' ? errorType : 'Error',
    errorMessage: typeof errorMessage === 'string' ? errorMessage : '',
    ...(Array.isArray(stackTrace) ? { stackTrace: stackTrace.map(String) } : {}),
  };
}

function accept(response: ServerResponse): void {
  response.writeHead(202, { 'content-type': 'application/json' });
  response.end('{"status":"OK"}');
}

function refuse(response: ServerResponse, status: number, errorType: string, errorMessage: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ errorMessage, errorType }));
}
