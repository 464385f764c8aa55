import { type ChildProcess, spawn, type SpawnOptions, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Closes the server and all its connections. Idempotent. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}

/** Time that a process has to end before it is killed. */
const STOP_GRACE_MS = 5_000;
/** Between two polls of a port. */
const PORT_POLL_MS = 5;

/** A child process. */
export interface Process {
  readonly pid: number;
  isRunning(): boolean;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  /** Asks it to end, kills it after a grace period, and waits for its end. */
  stop(): Promise<void>;
}

/**
 * The environment for processes of the stack: ours without the settings of AWS and Node, which are meant for the caller.
 * The compile cache stays: it only makes starts faster.
 * (`AWS_CA_BUNDLE` and `NODE_EXTRA_CA_CERTS` break plain local servers; `NODE_OPTIONS` and `NODE_TEST_CONTEXT` change what node does.)
 */
export function childEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|NODE)_(?!COMPILE_CACHE$)/.test(name)),
  );
}

/** A loopback port that was free a moment ago. Another process may take it: be ready to try another one. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether a process listens on the loopback port. */
export function isListening(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ port, host: '127.0.0.1' });
  socket.once('connect', () => resolve(true));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}

/**
 * Resolves once the process listens on the port.
 *
 * @throws Error when it ends first, or after `withinMs`.
 */
export async function untilListening(port: number, server: Process, withinMs: number): Promise<void> {
  const start = performance.now();
  while (performance.now() - start < withinMs) {
    // Checked before the process: if another program has the port, ours ends, and the answer was not its own.
    const listening = await isListening(port);
    if (!server.isRunning()) throw new Error(`process ${server.pid} ended before it listened on port ${port}`);
    if (listening) return;
    await sleep(PORT_POLL_MS);
  }
  throw new Error(`process ${server.pid} did not listen on port ${port} within ${withinMs} ms`);
}

/** Starts a program. */
export function startProcess(command: readonly string[], stdio: StdioOptions, extra: NodeJS.ProcessEnv = {}): Process {
  const child = start(command, { stdio, env: { ...childEnvironment(), ...extra } });
  const { isRunning, ended } = child;
  return { ...child, stop: () => stopProcess(child.child, isRunning, ended) };
}

/**
 * Starts one of our own programs, which ends with this process: it holds the other end of a channel, and ends when the channel closes.
 * Its output goes to the descriptor `log`; `onPid` gets the pid that it reports.
 */
export function startHeld(
  command: readonly string[],
  log: number,
  extra: NodeJS.ProcessEnv,
  onPid: (pid: number) => void,
): Process {
  const { child, pid, isRunning, ended } = start(command, {
    stdio: ['ignore', log, log, 'ipc'],
    env: { ...childEnvironment(), ...extra },
  });
  child.on('message', (message) => {
    if (typeof message === 'number') onPid(message);
  });
  const stop = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
    await ended;
    clearTimeout(timer);
  };
  return { pid, isRunning, ended, stop };
}

export interface DetachedProcess extends Process {
  /** Whether it exited with a code other than 0. False if it was killed: another start may succeed. */
  hasFailed(): boolean;
}

/**
 * Starts a program that outlives this process, and gets no Ctrl-C of its terminal; its output goes to the descriptor `log`.
 * On platforms without that it ends with this process or by Ctrl-C, as if it had been killed.
 */
export function startDetached(command: readonly string[], log: number): DetachedProcess {
  // The root as working folder: another one could not be removed or unmounted.
  const started = start(command, {
    stdio: ['ignore', log, log],
    env: childEnvironment(),
    detached: true,
    cwd: '/',
  });
  const { child, isRunning, ended } = started;
  child.unref();
  const hasFailed = (): boolean => (child.exitCode ?? 0) !== 0;
  return { ...started, stop: () => stopProcess(child, isRunning, ended), hasFailed };
}

/** Whether a process with this pid exists, of any user. */
export function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Kills the process, if it exists. Only for a pid that was just proven to be ours: pids are reused. */
export function killProven(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

type Started = Omit<Process, 'stop'> & { readonly child: ChildProcess };

function start([file = '', ...args]: readonly string[], options: SpawnOptions): Started {
  const child = spawn(file, args, { ...options, windowsHide: true });
  const { pid } = child;
  if (pid === undefined) throw new Error(`cannot start ${file}: does it exist, and is it executable?`);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  return { child, pid, isRunning: () => child.exitCode === null && child.signalCode === null, ended };
}

async function stopProcess(child: ChildProcess, isRunning: () => boolean, ended: Promise<void>): Promise<void> {
  if (!isRunning()) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
  try {
    await ended;
  } finally {
    clearTimeout(timer);
  }
}
