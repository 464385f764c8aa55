import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sendAnswer } from '../../../lib/http/send-answer.ts';
import { clientText } from '../../../lib/telemetry/logger.ts';
import { closeServer } from '../processes.ts';
import type { Activity, ActivityFields } from './activity.ts';
import { FunctionFailedError, type Functions, ThrottledError } from './functions.ts';
import {
  findRoute,
  gatewayAnswer,
  type GatewayAnswer,
  gatewayEvent,
  gatewayMessage,
  INTERNAL_ERROR,
  type LocalCaller,
  NOT_FOUND,
  type Route,
  type RouteMatch,
  splitUrl,
  TOO_LARGE,
  UNAVAILABLE,
} from './gateway.ts';
import { readBounded, TooLongError } from './read-bounded.ts';
import { MAX_PAYLOAD_BYTES } from './runtime-api.ts';

/** Answers paths under `/_local/`: inspects and controls the application. */
export type Control = (method: string, path: string) => GatewayAnswer | undefined;

export interface EndpointOptions {
  /** 0: any free one. */
  readonly port: number;
  readonly routes: readonly Route[];
  readonly functions: Functions;
  readonly caller: LocalCaller;
  /** Asked for paths under `/_local/`. */
  readonly control: Control;
  /** Lists each other request with its answer. */
  readonly activity?: Pick<Activity, 'begin'>;
}

export interface LocalEndpoint extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** Ends every connection. Idempotent. */
  close(): Promise<void>;
}

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const INTEGRATION_MS = 30_000;
const CONTROL = '/_local/';
const LOOPBACK = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/i;

/**
 * The HTTP API on loopback: each request becomes an event for the function of its route, and the function's result becomes the answer, as in API Gateway.
 *
 * Everyone on this machine is the same caller. Web pages are refused: host and origin of a request must be loopback.
 *
 * @throws Error when the port is taken.
 */
export async function openEndpoint(options: EndpointOptions): Promise<LocalEndpoint> {
  const server = createServer({ requestTimeout: INTEGRATION_MS }, (request, response) => {
    answerTo(options, request)
      .then((answer) => send(request, response, answer))
      // The client disconnected during its request.
      .catch(() => response.destroy());
  });
  server.listen(options.port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new Error(`port ${options.port} of 127.0.0.1 is taken; choose another with --port, or 0 for any free one`, {
      cause: error,
    });
  }
  const close = (): Promise<void> => closeServer(server);
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { origin, close, [Symbol.asyncDispose]: close };
}

/** @throws the error of reading the request. */
async function answerTo(options: EndpointOptions, request: IncomingMessage): Promise<GatewayAnswer> {
  const { routes, control, activity } = options;
  if (!isLocal(request)) return gatewayMessage(403, 'Forbidden');
  const method = request.method ?? '';
  const [path] = splitUrl(request.url ?? '/');
  if (path.startsWith(CONTROL)) return control(method, path) ?? NOT_FOUND;
  const match = findRoute(routes, method, path);
  // Without the query, which may hold a secret.
  const asked = { method: clientText(method), path: clientText(path), function: match?.route.functionName };
  const ended = activity?.begin('requests', asked);
  try {
    const answer = match === undefined ? NOT_FOUND : await integrated(options, request, match);
    ended?.({ status: answer.status, bytes: answer.body.byteLength, ...clientOf(request) });
    return answer;
  } catch (error) {
    ended?.({ left: true, ...clientOf(request) });
    throw error;
  }
}

const clientOf = ({ socket, headers }: IncomingMessage): ActivityFields => ({
  address: socket.remoteAddress,
  userAgent: headers['user-agent'] === undefined ? undefined : clientText(headers['user-agent']),
});

/** @throws the error of reading the request. */
async function integrated(
  { functions, caller }: EndpointOptions,
  request: IncomingMessage,
  match: RouteMatch,
): Promise<GatewayAnswer> {
  let body: Buffer;
  try {
    body = await readBounded(request, MAX_BODY_BYTES);
  } catch (error) {
    if (error instanceof TooLongError) return TOO_LARGE;
    throw error;
  }
  const event = gatewayEvent(request, body, match, caller);
  if (Buffer.byteLength(event.body ?? '') > MAX_PAYLOAD_BYTES) return TOO_LARGE;
  return await integrate(functions, match.route.functionName, event);
}

/** After its time-out API Gateway answers 503, and the function keeps running. */
async function integrate(functions: Functions, name: string, event: unknown): Promise<GatewayAnswer> {
  const late = Promise.withResolvers<GatewayAnswer>();
  const timer = setTimeout(() => late.resolve(UNAVAILABLE), INTEGRATION_MS);
  const answered = functions.invoke(name, event).then(gatewayAnswer, (error: unknown) => {
    if (error instanceof ThrottledError) return UNAVAILABLE;
    // The log of the function has the reason; an error of this endpoint is logged here.
    if (!(error instanceof FunctionFailedError)) console.error(error);
    return INTERNAL_ERROR;
  });
  try {
    return await Promise.race([answered, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function isLocal({ headers }: IncomingMessage): boolean {
  const { host = '', origin } = headers;
  if (!LOOPBACK.test(host)) return false;
  return origin === undefined || (URL.canParse(origin) && LOOPBACK.test(new URL(origin).host));
}

function send(request: IncomingMessage, response: ServerResponse, answer: GatewayAnswer): Promise<void> {
  const { status, headers, body, statedLength } = answer;
  const isHead = request.method === 'HEAD';
  const withoutBody = status === 204 || status === 304;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  // `entrepot doctor` checks whether API Gateway keeps the length that a function states for HEAD: registry-blob-head.
  const length = isHead && body.byteLength === 0 && statedLength !== undefined ? statedLength : body.byteLength;
  if (!withoutBody) response.setHeader('content-length', length);
  return sendAnswer(request, response, { status, headers: {}, ...(isHead || withoutBody ? {} : { body }) });
}
