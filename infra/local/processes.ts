import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a process may take to end after SIGTERM before it gets SIGKILL. */
const TERM_GRACE_MS = 5_000;
/** Between two looks at a port that is about to open. */
const PORT_POLL_MS = 5;
/** Between two looks at a process that is not our own child, whose end nobody tells us. */
const ADOPTED_POLL_MS = 200;

/** A process of the stack, our own child or one that an earlier supervisor left. */
export interface Process {
  readonly pid: number;
  isRunning(): boolean;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  /** Ends it: SIGTERM, and SIGKILL where that is not enough. It is gone when this returns. */
  stop(): Promise<void>;
}

/**
 * Our environment for processes of the stack: without AWS's and Node's own settings, which are meant for the caller.
 * The compile cache is not one of them: it changes nothing but the time of a start.
 * (`AWS_CA_BUNDLE` and `NODE_EXTRA_CA_CERTS` break plain local servers; `NODE_OPTIONS` and `NODE_TEST_CONTEXT` change what node does.)
 */
export function childEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|NODE)_(?!COMPILE_CACHE$)/.test(name)),
  );
}

/** A loopback port that was free a moment ago. Somebody may take it: whoever uses it must be ready to try another. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether somebody listens on the loopback port now. */
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
    // Asked before the process: a stranger on its port makes it end, and must not be taken for it.
    const listening = await isListening(port);
    if (!server.isRunning()) throw new Error(`process ${server.pid} ended before it listened on port ${port}`);
    if (listening) return;
    await sleep(PORT_POLL_MS);
  }
  throw new Error(`process ${server.pid} did not listen on port ${port} within ${withinMs} ms`);
}

/** Starts a process of the stack. */
export function startProcess(command: readonly string[], stdio: StdioOptions, extra: NodeJS.ProcessEnv = {}): Process {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio, env: { ...childEnvironment(), ...extra } });
  if (child.pid === undefined) throw new Error(`cannot start ${file}: is it there, and may it be executed?`);
  return ourChild(child, child.pid);
}

export interface DetachedProcess extends Process {
  /** Whether it ended otherwise than with exit code 0. */
  hasFailed(): boolean;
}

/** Starts a process in a session of its own, that lives on when we end; its output goes to the descriptor `log`. */
export function startDetached(command: readonly string[], log: number): DetachedProcess {
  const [file = '', ...args] = command;
  // The root as working folder: any other would be kept from being removed or unmounted.
  const child = spawn(file, args, { stdio: ['ignore', log, log], env: childEnvironment(), detached: true, cwd: '/' });
  if (child.pid === undefined) throw new Error(`cannot start ${file}: is it there, and may it be executed?`);
  child.unref();
  return { ...ourChild(child, child.pid), hasFailed: () => child.signalCode !== null || (child.exitCode ?? 0) !== 0 };
}

function ourChild(child: ChildProcess, pid: number): Process {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  return { pid, isRunning, ended, stop: () => stopProcess((signal) => child.kill(signal), isRunning, ended) };
}

/**
 * The running process with exactly this command line, if there is one. Pids are reused; a command line with our home and
 * port in it is not, so that a stranger is never taken for ours. Undefined where there is no /proc.
 */
export function findProcess(command: readonly string[]): Process | undefined {
  const wanted = command.map((word) => `${word}\0`).join('');
  const pid = allPids().find((candidate) => commandLineOf(candidate) === wanted);
  if (pid === undefined) return undefined;
  const isRunning = (): boolean => commandLineOf(pid) === wanted;
  const ended = (async () => {
    while (isRunning()) await sleep(ADOPTED_POLL_MS, undefined, { ref: false });
  })();
  // Looked at again right before each signal: the pid could be somebody else's by now.
  const kill = (signal: NodeJS.Signals): boolean => isRunning() && process.kill(pid, signal);
  return { pid, isRunning, ended, stop: () => stopProcess(kill, isRunning, ended) };
}

function allPids(): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Empty for zombies, and for processes that are gone. */
function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It ended between two looks (ENOENT, ESRCH), or is not ours to read (EACCES).
  }
}

async function stopProcess(
  kill: (signal: NodeJS.Signals) => boolean,
  isRunning: () => boolean,
  ended: Promise<void>,
): Promise<void> {
  if (!isRunning()) return;
  kill('SIGTERM');
  const timer = setTimeout(() => kill('SIGKILL'), TERM_GRACE_MS);
  try {
    await ended;
  } finally {
    clearTimeout(timer);
  }
}
