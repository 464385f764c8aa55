import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closeServer } from '../processes.ts';
import { FunctionFailedError, ThrottledError, type Functions } from './functions.ts';
import { readBounded, TooLongError } from './read-bounded.ts';
import { MAX_PAYLOAD_BYTES } from './runtime-api.ts';

export interface LambdaEndpoint extends AsyncDisposable {
  /** For AWS_ENDPOINT_URL_LAMBDA. */
  readonly endpoint: string;
}

const INVOKE = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/;
/** Longer than any SDK keeps idle connections, so that none is closed under a new request. */
const KEEP_ALIVE_MS = 60_000;

/**
 * Lambda's Invoke on loopback, for functions that call one another and wait: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html. Signatures are not
 * verified. Requests with an `Origin`, such as those of web pages, are refused.
 *
 * @param nameOf the function by the name it has in an account.
 */
export async function startLambdaEndpoint(
  functions: Pick<Functions, 'invoke'>,
  nameOf: (name: string) => string | undefined,
): Promise<LambdaEndpoint> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    answer(functions, nameOf, request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => closeServer(server),
  };
}

async function answer(
  functions: Pick<Functions, 'invoke'>,
  nameOf: (name: string) => string | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let body: Buffer;
  try {
    body = await readBounded(request, MAX_PAYLOAD_BYTES);
  } catch (error) {
    if (!(error instanceof TooLongError)) throw error;
    refuse(response, 413, 'RequestTooLargeException', error.message);
    return;
  }
  const [, called] = INVOKE.exec(request.url ?? '') ?? [];
  if (request.method !== 'POST' || called === undefined || request.headers.origin !== undefined) {
    refuse(response, 404, 'UnknownOperationException', 'Invoke is the only request supported here');
    return;
  }
  const name = nameOf(decodeURIComponent(called));
  if (name === undefined) {
    refuse(response, 404, 'ResourceNotFoundException', `Function not found: ${called}`);
    return;
  }
  try {
    send(response, 200, await functions.invoke(name, JSON.parse(body.toString('utf8'))));
  } catch (error) {
    if (error instanceof ThrottledError) refuse(response, 429, 'TooManyRequestsException', error.message);
    else if (error instanceof FunctionFailedError)
      send(response, 200, error.error, { 'x-amz-function-error': 'Unhandled' });
    else if (error instanceof SyntaxError) refuse(response, 400, 'InvalidRequestContentException', error.message);
    else throw error;
  }
}

function refuse(response: ServerResponse, status: number, type: string, Message: string): void {
  send(response, status, { Type: 'User', Message }, { 'x-amzn-errortype': type });
}

function send(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-amzn-requestid': randomUUID(), ...headers });
  response.end(JSON.stringify(body));
}
