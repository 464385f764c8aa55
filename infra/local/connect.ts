import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { dynoxideBinary } from './dynoxide.ts';
import { tryLock } from './file-lock.ts';
import { createHome, homeAt, readCredentials, readRecord, type Home } from './home.ts';
import { stackAt, type LocalStack } from './local-stack.ts';

import { logTail, withLog } from './logs.ts';
import { startDetached, type DetachedProcess } from './processes.ts';
import { openSession, type Session } from './sessions.ts';

export { stackEnvironment } from './local-stack.ts';

const SUPERVISOR = fileURLToPath(new URL('supervisor.ts', import.meta.url));
const START_WITHIN_MS = 90_000;
const POLL_MS = 25;

export interface OpenStackOptions {
  readonly signal?: AbortSignal;
  /** How long the stack outlives its last user, if this call is the one that starts it. */
  readonly idleMs?: number;
}

/**
 * The embedded stack with its state in the folder `home`: shared if it runs already, started otherwise.
 *
 * Any number of processes share one stack. It runs while one of them holds it, and a while longer. If its supervisor is killed, holders start
 * another one, whose servers have the same ports and state.
 *
 * @throws Error saying why it cannot run here; the signal's reason.
 */
export async function openLocalStack(home: string, options: OpenStackOptions = {}): Promise<LocalStack> {
  const files = homeAt(home);
  options.signal?.throwIfAborted();
  // An endpoint that the user set comes before dynoxide. Without either this fails with what to install, before anything is started.
  const { AWS_ENDPOINT_URL_DYNAMODB: dynamodb = '' } = process.env;
  if (dynamodb === '') dynoxideBinary();
  const args = [
    ...(options.idleMs === undefined ? [] : ['--idle-ms', String(options.idleMs)]),
    ...(dynamodb === '' ? [] : ['--dynamodb', dynamodb]),
  ];
  createHome(files);
  const closing = new AbortController();
  const signals = [closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
  let session = await hold(files, args, AbortSignal.any(signals));
  const endpoints = stackAt(session.places, readCredentials(files), files.signingKey);

  const isHeld = (): boolean => !closing.signal.aborted;
  const holdOn = async (): Promise<void> => {
    while (isHeld()) {
      await session.closed;
      if (isHeld()) session = await hold(files, args, closing.signal);
    }
    session.close();
  };
  // If no other supervisor can be started, the servers may still run; if not, the next request to them fails with the reason.
  const holding = holdOn().catch(() => undefined);
  const close = async (): Promise<void> => {
    closing.abort();
    session.close();
    await holding;
  };
  return { ...endpoints, close, [Symbol.asyncDispose]: close };
}

/** A session with the supervisor of the home, which is started if none runs. */
async function hold(home: Home, args: readonly string[], caller: AbortSignal): Promise<Session> {
  const signal = AbortSignal.any([caller, AbortSignal.timeout(START_WITHIN_MS)]);
  try {
    for (;;) {
      const session = (await attach(home, signal)) ?? (await startOnce(home, args, signal));
      if (session !== undefined) return session;
      await sleep(POLL_MS, undefined, { signal });
    }
  } catch (error) {
    caller.throwIfAborted(); // The caller's reason, not the AbortError of a wait.
    if (!signal.aborted) throw error;
    throw new Error(`the embedded stack did not start within ${START_WITHIN_MS / 1000} s${logged(home)}`, {
      cause: error,
    });
  }
}

async function attach(home: Home, signal: AbortSignal): Promise<Session | undefined> {
  const record = readRecord(home);
  return record === undefined ? undefined : openSession(record.port, record.token, signal);
}

/** Starts the supervisor, unless another client is doing so or has just done so. */
async function startOnce(home: Home, args: readonly string[], signal: AbortSignal): Promise<Session | undefined> {
  using starting = tryLock(home.startingLock, 0);
  if (starting === undefined) return undefined;
  const session = await attach(home, signal);
  if (session !== undefined) return session;

  const command = [process.execPath, SUPERVISOR, '--home', home.root, ...args];
  const supervisor = withLog(home.logs, 'supervisor', (log) => startDetached(command, log));
  return await untilAttached(home, supervisor, signal);
}

async function untilAttached(
  home: Home,
  supervisor: DetachedProcess,
  signal: AbortSignal,
): Promise<Session | undefined> {
  for (;;) {
    const wasRunning = supervisor.isRunning();
    const session = await attach(home, signal);
    if (session !== undefined) return session;
    if (!wasRunning && supervisor.hasFailed())
      throw new Error(`the embedded stack could not be started${logged(home)}`);
    if (!wasRunning) return undefined; // Another one runs already; it restores its record.
    await sleep(POLL_MS, undefined, { signal });
  }
}

function logged(home: Home): string {
  const tail = logTail(home.logs, 'supervisor');
  return tail === '' ? '' : `; ${home.logs} ends with:\n${tail}`;
}
