import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { StackPlaces } from './local-stack.ts';

/*
 * A client holds the stack by one open loopback connection. The kernel closes it when the client ends, however it ends.
 *
 *   client      TOKEN \n
 *   supervisor  READY \n       once the stack answers (one line of JSON); then nothing more, in both directions
 */
const MAX_LINE_CHARACTERS = 4_096;
const TOKEN_WITHIN_MS = 2_000;

export interface SessionServer {
  readonly port: number;
  /** Milliseconds without a client; 0 while there is one. */
  idleMs(): number;
  /** Closes all connections, and accepts no more. */
  close(): Promise<void>;
}

/** Accepts clients that know the token, and sends them the places of the servers once these answer. */
export async function serveSessions(token: string, ready: Promise<StackPlaces>): Promise<SessionServer> {
  const clients = new Set<Socket>();
  let idleSince = performance.now();
  const server = createServer((socket) => {
    clients.add(socket);
    socket.on('error', () => socket.destroy()); // The client died; 'close' follows.
    socket.on('close', () => {
      clients.delete(socket);
      idleSince = performance.now();
    });
    welcome(socket, token, ready).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    idleMs: () => (clients.size > 0 ? 0 : performance.now() - idleSince),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of clients) socket.destroy();
      await closed;
    },
  };
}

async function welcome(socket: Socket, token: string, ready: Promise<StackPlaces>): Promise<void> {
  if ((await readLine(socket, AbortSignal.timeout(TOKEN_WITHIN_MS))) !== token) {
    socket.destroy();
    return;
  }
  const places = await ready;
  if (!socket.destroyed) socket.write(`${JSON.stringify(places)}\n`);
}

/** A held connection to the supervisor. It does not keep the process alive. */
export interface Session {
  readonly places: StackPlaces;
  /** Resolves when the connection closes: by `close`, or by the end of the supervisor. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Connects to the supervisor on `port`, and waits until its stack answers; undefined if there is none, or another one. */
export async function openSession(port: number, token: string, signal: AbortSignal): Promise<Session | undefined> {
  const socket = connect({ port, host: '127.0.0.1' });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => socket.destroy()); // ECONNREFUSED, ECONNRESET: no supervisor there; 'close' follows.
  socket.write(`${token}\n`);
  try {
    const line = await readLine(socket, signal);
    if (line === undefined) return undefined;
    socket.unref();
    return { places: JSON.parse(line) as StackPlaces, closed, close: () => socket.destroy() };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** The first line; undefined if the connection ends before it, or the line is too long. @throws the signal's reason */
async function readLine(socket: Socket, signal: AbortSignal): Promise<string | undefined> {
  signal.throwIfAborted();
  let text = '';
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const onChunk = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    const end = text.indexOf('\n');
    if (end >= 0) resolve(text.slice(0, end));
    else if (text.length > MAX_LINE_CHARACTERS) resolve(undefined);
  };
  const onClose = (): void => resolve(undefined);
  const onAbort = (): void => reject(signal.reason as Error);
  socket.on('data', onChunk).once('close', onClose);
  signal.addEventListener('abort', onAbort);
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    socket.off('data', onChunk).off('close', onClose);
    socket.resume(); // The end of the connection is only seen while reading.
  }
}
