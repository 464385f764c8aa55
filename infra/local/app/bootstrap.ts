import { Agent, request, type IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import type { Context } from 'aws-lambda';

/*
 * What runs in an execution environment of the offline mode: loads the handler and calls it with one event after the other, as the Runtime API
 * (runtime-api.ts) hands them out. The interop suite runs the same bundles under AWS's own runtime interface client; that one compiles for half
 * a minute, and so is no part of an installation.
 *
 * Its standard input is a pipe without data. It closes when the parent process ends, and then this process ends.
 */

type Handler = (event: unknown, context: Context) => Promise<unknown>;

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const API = `http://${needed('AWS_LAMBDA_RUNTIME_API')}/2018-06-01/runtime`;
const agent = new Agent({ keepAlive: true });

async function main(): Promise<void> {
  process.stdin.once('end', () => process.exit()).resume();
  process.on('SIGINT', () => undefined); // Ctrl-C reaches every process of a terminal; the parent process handles it.
  let handler: Handler;
  try {
    handler = await loadHandler();
  } catch (error) {
    console.error(error); // First, because the report of the error ends this process.
    await post('/init/error', errorDocument(error));
    process.exit(1);
  }
  for (;;) await handleNext(handler);
}

async function loadHandler(): Promise<Handler> {
  const [file = '', name = ''] = needed('_HANDLER').split('.');
  const path = join(needed('LAMBDA_TASK_ROOT'), `${file}.mjs`);
  const module = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  const handler = module[name];
  if (typeof handler === 'function') return handler as Handler;
  throw Object.assign(new Error(`${path} exports no function "${name}"`), { name: 'Runtime.HandlerNotFound' });
}

async function handleNext(handler: Handler): Promise<void> {
  const next = await call('GET', '/invocation/next');
  if (next.status !== 200) throw new Error(`the Runtime API answered ${next.status} instead of an event`);
  const event = JSON.parse(next.body.toString('utf8')) as unknown;
  const id = header(next.headers, 'lambda-runtime-aws-request-id');
  let answer: string;
  try {
    // A handler without a result answers null.
    answer = JSON.stringify((await handler(event, contextOf(id, next.headers))) ?? null);
  } catch (error) {
    console.error(error);
    await post(`/invocation/${id}/error`, errorDocument(error));
    return;
  }
  await post(`/invocation/${id}/response`, answer);
}

async function post(path: string, body: string): Promise<void> {
  const { status } = await call('POST', path, body);
  // 413: the answer was too long; the caller got that error.
  if (status !== 202 && status !== 413) throw new Error(`the Runtime API answered ${status} to ${path}`);
}

/** Not fetch: it gives up after five minutes without an answer, and loads code that the handler may not need. */
async function call(method: string, path: string, body = ''): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const outgoing = request(`${API}${path}`, { method, agent, headers }, (incoming) => {
    const { statusCode: status = 0, headers } = incoming;
    buffer(incoming).then((bytes) => resolve({ status, headers, body: bytes }), reject);
  });
  outgoing.once('error', reject).end(body);
  return await promise;
}

function contextOf(id: string, headers: IncomingHttpHeaders): Context {
  const deadlineMs = Number(header(headers, 'lambda-runtime-deadline-ms'));
  const context: Omit<Context, 'done' | 'fail' | 'succeed'> = {
    awsRequestId: id,
    functionName: needed('AWS_LAMBDA_FUNCTION_NAME'),
    functionVersion: needed('AWS_LAMBDA_FUNCTION_VERSION'),
    invokedFunctionArn: header(headers, 'lambda-runtime-invoked-function-arn'),
    memoryLimitInMB: needed('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
    logGroupName: needed('AWS_LAMBDA_LOG_GROUP_NAME'),
    logStreamName: needed('AWS_LAMBDA_LOG_STREAM_NAME'),
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  };
  return context as Context; // Node 24 on Lambda has no done, fail and succeed, whatever the types say.
}

function header(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  if (typeof value !== 'string') throw new Error(`the Runtime API sent an event without ${name}`);
  return value;
}

/** An error as Lambda's own runtime reports it. */
function errorDocument(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify({ errorType: typeof error, errorMessage: String(error) });
  const { name, message, stack = '' } = error;
  return JSON.stringify({ errorType: name, errorMessage: message, stackTrace: stack.split('\n').slice(1) });
}

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: this program is started by the offline mode alone`);
  return value;
}

await main();
