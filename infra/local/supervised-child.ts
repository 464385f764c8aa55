import { setTimeout as sleep } from 'node:timers/promises';
import type { ChildRecord } from './home.ts';
import { logTail, withLog } from './logs.ts';
import { freePort, isListening, isThere, killProven, startHeld, type Process } from './processes.ts';

const START_WITHIN_MS = 30_000;
const PORT_ATTEMPTS = 5;
/** A child that dies this soon after its start counts as failed. */
const SHORT_LIFE_MS = 2_000;
const MAX_SHORT_LIVES = 5;
const RESTART_DELAY_MS = 100;

/** How long a new process waits for the end of one of an earlier supervisor. */
const LEFT_WITHIN_MS = 2_000;
const POLL_MS = 5;

export interface ChildSpec {
  readonly name: string;
  readonly logs: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** The command of one of our programs, which ends with this process and reports the pid of the server. */
  command(port: number): readonly string[];
  /** Whether our server, with our state, answers on the port. Undefined if nothing else can be left there. */
  readonly isOurs?: (port: number) => Promise<boolean>;
  /** Called before a server is started, and with its pid. */
  record(child: ChildRecord): void;
  /** Called once, when the child cannot be kept running. */
  failed(error: Error): void;
}

export interface SupervisedChild {
  readonly port: number;
  /** Ends the process, and does not restart it. */
  stop(): Promise<void>;
}

/**
 * A server process that answers on `port`, and is started again on the same port whenever it dies.
 *
 * A process of an earlier supervisor is ended first. Its port is kept if possible, because clients may still use it.
 */
export async function superviseChild(spec: ChildSpec, earlier: ChildRecord | undefined): Promise<SupervisedChild> {
  let latest = earlier;
  const recording: ChildSpec = {
    ...spec,
    record: (child) => {
      latest = child;
      spec.record(child);
    },
  };
  await endLeft(spec, earlier);
  const started = await startSomewhere(recording, earlier?.port);
  const stopping = new AbortController();
  const watching = keepRunning(recording, started, () => latest, stopping.signal);
  return {
    port: started.port,
    stop: async () => {
      stopping.abort();
      await watching;
    },
  };
}

interface Running {
  readonly port: number;
  readonly server: Process;
}

/**
 * Waits for the end of an earlier process; our programs end by themselves. A server whose holder was killed is killed. Pids are reused, so our
 * server must first answer on the port that was recorded with the pid.
 */
async function endLeft({ isOurs }: ChildSpec, left: ChildRecord | undefined): Promise<void> {
  if (left === undefined) return;
  const { pid, port } = left;
  const start = performance.now();
  let isKilled = false;
  while (performance.now() - start < LEFT_WITHIN_MS) {
    const mayBeThere = pid !== null && !isKilled && isThere(pid);
    if (!(await isListening(port))) {
      // A running process may be about to listen.
      if (!mayBeThere) return;
    } else if (mayBeThere && (await isOurs?.(port)) === true) {
      killProven(pid);
      isKilled = true;
    }
    await sleep(POLL_MS);
  }
}

async function startSomewhere(spec: ChildSpec, preferredPort: number | undefined): Promise<Running> {
  for (let attempt = 1; ; attempt += 1) {
    const port = attempt === 1 && preferredPort !== undefined ? preferredPort : await freePort();
    try {
      return { port, server: await start(spec, port) };
    } catch (error) {
      // Another process may have taken the free port meanwhile.
      if (attempt === PORT_ATTEMPTS) {
        throw new Error(`${spec.name} does not start; its log ends with: ${logTail(spec.logs, spec.name)}`, {
          cause: error,
        });
      }
    }
  }
}

async function start(spec: ChildSpec, port: number): Promise<Process> {
  spec.record({ pid: null, port });
  let isReported = false;
  const onPid = (pid: number): void => {
    isReported = true;
    spec.record({ pid, port });
  };
  const server = withLog(spec.logs, spec.name, (log) =>
    startHeld(spec.command(port), log, spec.environment ?? {}, onPid),
  );
  try {
    await untilAnswering(spec, port, server, () => isReported);
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** @throws Error when the process ends first, or after {@link START_WITHIN_MS}. */
async function untilAnswering(
  { name, isOurs = isListening }: ChildSpec,
  port: number,
  server: Process,
  isReported: () => boolean,
): Promise<void> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < START_WITHIN_MS) {
    // Checked before the process: if another program has the port, ours ends, and the answer was not its own.
    const answers = isReported() && (await isOurs(port));
    if (!server.isRunning()) throw new Error(`${name} ended before it answered on port ${port}`);
    if (answers) return;
    await sleep(POLL_MS);
  }
  throw new Error(`${name} did not answer on port ${port} within ${START_WITHIN_MS} ms`);
}

/** Resolves when the child was stopped, or could not be kept running. */
async function keepRunning(
  spec: ChildSpec,
  first: Running,
  latest: () => ChildRecord | undefined,
  stopping: AbortSignal,
): Promise<void> {
  const { port } = first;
  const stop = new Promise<void>((resolve) => stopping.addEventListener('abort', () => resolve(), { once: true }));
  let server: Process | undefined = first.server;
  for (let shortLives = 0; shortLives < MAX_SHORT_LIVES;) {
    const startedAt = performance.now();
    if (server !== undefined) await Promise.race([server.ended, stop]);
    if (stopping.aborted) {
      await server?.stop();
      return;
    }
    shortLives = performance.now() - startedAt < SHORT_LIFE_MS ? shortLives + 1 : 0;
    await sleep(RESTART_DELAY_MS * shortLives);
    await endLeft(spec, latest());
    server = await start(spec, port).catch(() => undefined); // Counted as a short life; its log has the reason.
  }
  spec.failed(new Error(`${spec.name} died ${MAX_SHORT_LIVES} times in a row; see its log in ${spec.logs}`));
}
