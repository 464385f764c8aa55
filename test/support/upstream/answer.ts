import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** An answer before it is sent. `content-length` is that of `body`, unless a header says otherwise. */
export interface Answer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A fault: changed fields of the answer, and misbehaviour of the connection. */
export interface Action {
  readonly status?: number;
  /** Laid over the answer's; `undefined` takes a header away. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body?: Uint8Array;
  /** Waits before the headers. */
  readonly delayMs?: number;
  /** Breaks the connection before anything is answered. */
  readonly reset?: boolean;
  /** Breaks the connection after this many bytes of the body; `content-length` still promises all of it. */
  readonly dropAfterBytes?: number;
  /** Sends nothing more after this many bytes of the body, and keeps the connection open. */
  readonly stallAfterBytes?: number;
  /** No `content-length`: then a body may end early or run on without the HTTP client noticing. */
  readonly chunked?: boolean;
  /** Between two chunks of 64 KiB. */
  readonly chunkDelayMs?: number;
  /** Sends the first half of the body, and the other once this resolves. */
  readonly restAfter?: Promise<unknown>;
}

const CHUNK_BYTES = 64 * 1024;

/** Sends `answer` with `action` laid over it. Resolves when it is sent, broken off, or the client is gone. */
export async function sendAnswer(
  incoming: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
  action: Action = {},
): Promise<void> {
  if (action.delayMs !== undefined) await sleep(action.delayMs, undefined, { ref: false });
  if (action.reset === true) {
    incoming.socket.resetAndDestroy();
    return;
  }
  const status = action.status ?? answer.status;
  const body = action.body ?? answer.body;
  const headers: Record<string, string> = {};
  if (action.chunked !== true) headers['content-length'] = String(body.byteLength);
  for (const [name, value] of Object.entries({ ...answer.headers, ...action.headers })) {
    if (value === undefined) Reflect.deleteProperty(headers, name);
    else headers[name] = value;
  }
  response.writeHead(status, headers);
  if (incoming.method === 'HEAD' || status === 204 || status === 304) {
    response.end();
    return;
  }
  await sendBody(response, body, action);
}

async function sendBody(response: ServerResponse, body: Uint8Array, action: Action): Promise<void> {
  const until = Math.min(action.dropAfterBytes ?? Infinity, action.stallAfterBytes ?? Infinity, body.byteLength);
  response.flushHeaders();
  const half = action.restAfter === undefined ? 0 : Math.floor(until / 2);
  if (action.restAfter !== undefined) {
    await new Promise<void>((resolve) => response.write(body.subarray(0, half), () => resolve()));
    await action.restAfter;
  }
  for (let at = half; at < until; at += CHUNK_BYTES) {
    if (response.destroyed) return;
    const chunk = body.subarray(at, Math.min(at + CHUNK_BYTES, until));
    // Called when it is written, and also when the client is gone.
    await new Promise<void>((resolve) => response.write(chunk, () => resolve()));
    if (action.chunkDelayMs !== undefined) await sleep(action.chunkDelayMs, undefined, { ref: false });
  }
  if (action.dropAfterBytes !== undefined) {
    // A moment for the bytes to arrive: a reset at once would take back what was sent.
    await sleep(10);
    response.destroy();
    return;
  }
  if (action.stallAfterBytes !== undefined) return;
  response.end();
}
