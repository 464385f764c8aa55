import { Agent, createServer, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** The request as a fault sees it. The body is set only for an `answer` function. */
export interface FaultRequest {
  readonly method: string;
  /** With the query string, as sent. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A response made up by the proxy. */
export interface FaultAnswer {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export type FaultAction =
  /** Forwards, waits for the whole answer, then resets the connection: the request took effect, but the client does not know. */
  | { readonly kind: 'lose-answer' }
  /** Answers in place of the target, which sees nothing. */
  | { readonly kind: 'answer'; readonly answer: FaultAnswer | ((request: FaultRequest) => FaultAnswer) }
  /** Resets the connection; the target sees nothing. */
  | { readonly kind: 'reset' }
  /** Forwards after a delay. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** Forwards once the promise is settled. */
  | { readonly kind: 'hold'; readonly until: Promise<unknown> };

/** The first rule that matches and has `times` left takes the request. Every given field must match. */
export interface FaultRule {
  readonly method?: string;
  /** Tested on the path with its query string. */
  readonly path?: RegExp;
  /** By lower-case name: `{ 'x-amz-target': /\.PutItem$/ }`. */
  readonly headers?: Readonly<Record<string, RegExp>>;
  /** How many matching requests pass untouched before the rule takes one. */
  readonly skip?: number;
  /** How many requests the rule takes; `Infinity` for all. */
  readonly times: number;
  readonly action: FaultAction;
}

/** The result of an {@link Interceptor}. */
export interface Intercepted {
  readonly answer: FaultAnswer;
  /** For the log: what was wrong with it. */
  readonly fault?: string;
  /** Resets the client's connection instead of answering. */
  readonly lost?: boolean;
}

/**
 * Handles requests that no rule took. `forward` sends the request to the target, with another body if one is given, and reads the whole answer.
 */
export type Interceptor = (
  request: FaultRequest,
  forward: (body?: Buffer) => Promise<FaultAnswer>,
) => Promise<Intercepted>;

/** One request, in the order of arrival. */
export interface LoggedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly startedMs: number;
  /** The fault that took it: the kind of an action, or the name of an interceptor. */
  fault?: string;
  /** The status of the answer; undefined while open, and if the connection was reset. */
  status?: number;
  /** Why the proxy itself reset the connection: the target was unreachable, or the client disconnected. */
  error?: unknown;
  endedMs?: number;
}

export interface FaultProxy extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, in place of the target's endpoint. */
  readonly endpoint: string;
  /** Tried in order; push and splice at any time. */
  readonly rules: FaultRule[];
  readonly log: LoggedRequest[];
  /** Ends all connections and stops listening. */
  close(): Promise<void>;
}

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'proxy-connection']);

/**
 * A loopback HTTP proxy in front of `targetEndpoint` (plain HTTP) that injects faults by rule and logs every request.
 *
 * `Host` is forwarded as the client sent and signed it, so that SigV4 signatures still verify at the target.
 */
export async function startFaultProxy(targetEndpoint: string, intercept?: Interceptor): Promise<FaultProxy> {
  const target = new URL(targetEndpoint);
  const agent = new Agent({ keepAlive: true });
  const rules: FaultRule[] = [];
  const log: LoggedRequest[] = [];
  const taken = new Map<FaultRule, number>();

  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    const entry: LoggedRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      startedMs: performance.now(),
    };
    log.push(entry);
    response.once('close', () => {
      entry.endedMs = performance.now();
      if (response.writableFinished) entry.status = response.statusCode;
    });
    const action = rules.find((rule) => takes(rule, entry, taken))?.action;
    if (action !== undefined) entry.fault = action.kind;
    serve({ target, agent, intercept }, action, request, response, entry).catch((error: unknown) => {
      entry.error = error;
      request.socket.resetAndDestroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const close = async (): Promise<void> => {
    await new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
      server.closeAllConnections();
    });
    agent.destroy();
  };
  const { port } = server.address() as AddressInfo;
  return { endpoint: `http://127.0.0.1:${port}`, rules, log, close, [Symbol.asyncDispose]: close };
}

/** Whether the rule takes this request; counts it if it matches. */
function takes(rule: FaultRule, request: LoggedRequest, taken: Map<FaultRule, number>): boolean {
  if (rule.method !== undefined && rule.method !== request.method) return false;
  if (rule.path !== undefined && !rule.path.test(request.path)) return false;
  for (const [name, pattern] of Object.entries(rule.headers ?? {})) {
    const value = request.headers[name];
    if (value === undefined || !pattern.test(String(value))) return false;
  }
  const before = taken.get(rule) ?? 0;
  const skip = rule.skip ?? 0;
  if (before >= skip + rule.times) return false;
  taken.set(rule, before + 1);
  return before >= skip;
}

interface Upstream {
  readonly target: URL;
  readonly agent: Agent;
  readonly intercept: Interceptor | undefined;
}

async function serve(
  upstream: Upstream,
  action: FaultAction | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  entry: LoggedRequest,
): Promise<void> {
  let held: Buffer | undefined;
  switch (action?.kind) {
    case 'reset':
      request.socket.resetAndDestroy();
      return;
    case 'answer': {
      const { answer } = action;
      const body = await bytesOf(request);
      const made = typeof answer === 'function' ? answer(seenOf(request, body)) : answer;
      response.writeHead(made.status, made.headers).end(request.method === 'HEAD' ? undefined : made.body);
      return;
    }
    case 'delay':
    case 'hold':
      // Keep reading: with unread bytes in the socket, Node would not notice that the client disconnected.
      held = await bytesOf(request);
      await (action.kind === 'delay' ? sleep(action.delayMs) : Promise.allSettled([action.until]));
      break;
    case 'lose-answer':
    case undefined:
  }
  if (response.closed) return; // The client disconnected; the target must not see the request.
  if (upstream.intercept !== undefined) {
    const body = held ?? (await bytesOf(request));
    const { answer, fault, lost } = await upstream.intercept(seenOf(request, body), async (changed = body) =>
      wholeOf(await forward(upstream, request, response, changed)),
    );
    if (fault !== undefined) entry.fault ??= fault;
    if (lost === true || action?.kind === 'lose-answer') request.socket.resetAndDestroy();
    else response.writeHead(answer.status, answer.headers).end(answer.body);
    return;
  }
  const answered = await forward(upstream, request, response, held);
  if (action?.kind === 'lose-answer') {
    await bytesOf(answered);
    request.socket.resetAndDestroy();
    return;
  }
  response.writeHead(answered.statusCode ?? 502, answered.statusMessage ?? '', endToEnd(answered.headers));
  answered.once('error', () => request.socket.resetAndDestroy());
  answered.pipe(response);
}

const seenOf = ({ method = '', url = '', headers }: IncomingMessage, body: Buffer): FaultRequest => ({
  method,
  path: url,
  headers,
  body,
});

async function wholeOf(answered: IncomingMessage): Promise<FaultAnswer> {
  const body = await bytesOf(answered);
  return { status: answered.statusCode ?? 502, headers: endToEnd(answered.headers), body };
}

/** The target's answer, once its headers are there. `held` is the body, where it was read already. */
function forward(
  { target, agent }: Pick<Upstream, 'target' | 'agent'>,
  request: IncomingMessage,
  response: ServerResponse,
  held?: Buffer,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // This server answers `Expect` itself (it is never signed); other headers, Host too, are forwarded unchanged.
    const { expect: _, ...came } = request.headers;
    const headers: OutgoingHttpHeaders =
      held === undefined || came['content-length'] === undefined
        ? came
        : { ...came, 'content-length': held.byteLength };
    const onward = httpRequest({
      agent,
      host: target.hostname,
      port: target.port,
      method: request.method,
      path: request.url,
      headers,
      setHost: false,
    });
    onward.once('response', resolve);
    onward.once('error', reject);
    // If the client disconnects, the request to the target is aborted.
    response.once('close', () => {
      if (!response.writableFinished) onward.destroy();
    });
    request.once('error', reject);
    if (held === undefined) request.pipe(onward);
    else onward.end(held);
  });
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name)));
}
