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
 * The embedded stack whose state is in the folder `home`: started if nobody uses it, shared otherwise.
 *
 * However many processes call this at once, they get the same stack. It stays for as long as one of them holds it, and a while longer; if its supervisor
 * is killed meanwhile, holders start another one, whose servers have the same ports and state.
 *
 * @throws Error saying why it cannot run here; the signal's reason.
 */
export async function openLocalStack(home: string, options: OpenStackOptions = {}): Promise<LocalStack> {
  const files = homeAt(home);
  options.signal?.throwIfAborted();
  // Named on purpose, it goes before dynoxide. Without either, nothing is started: this is where users learn what to do.
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
  // Where no other supervisor can be started, the servers may still run; if not, the next request to them says so better than we could here.
  const holding = holdOn().catch(() => undefined);
  const close = async (): Promise<void> => {
    closing.abort();
    session.close();
    await holding;
  };
  return { ...endpoints, close, [Symbol.asyncDispose]: close };
}

/** A session with the supervisor of the home, which is started if there is none. */
async function hold(home: Home, args: readonly string[], caller: AbortSignal): Promise<Session> {
  const signal = AbortSignal.any([caller, AbortSignal.timeout(START_WITHIN_MS)]);
  try {
    for (;;) {
      const session = (await attach(home, signal)) ?? (await startOnce(home, args, signal));
      if (session !== undefined) return session;
      await sleep(POLL_MS, undefined, { signal });
    }
  } catch (error) {
    caller.throwIfAborted(); // Its own reason, not the AbortError of whatever was waiting.
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

/** Starts the supervisor, unless another client is just doing that, or has just done it. */
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
    if (!wasRunning) return undefined; // There is one already; it will show its record again.
    await sleep(POLL_MS, undefined, { signal });
  }
}

function logged(home: Home): string {
  const tail = logTail(home.logs, 'supervisor');
  return tail === '' ? '' : `; ${home.logs} ends with:\n${tail}`;
}
