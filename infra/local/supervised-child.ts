import { setTimeout as sleep } from 'node:timers/promises';
import type { ChildRecord } from './home.ts';
import { logTail, withLog } from './logs.ts';
import { findProcess, freePort, isListening, startProcess, untilListening, type Process } from './processes.ts';

const START_WITHIN_MS = 10_000;
const PORT_ATTEMPTS = 5;
/** A child that dies this soon after its start did not really run. */
const SHORT_LIFE_MS = 2_000;
const MAX_SHORT_LIVES = 5;
const RESTART_DELAY_MS = 100;

export interface ChildSpec {
  readonly name: string;
  readonly logs: string;
  readonly environment?: NodeJS.ProcessEnv;
  command(port: number): readonly string[];
  /** Told before a process is started and after, so that its record survives a kill of the supervisor in between. */
  record(child: ChildRecord): void;
  /** Told once, when the child cannot be kept running. */
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
 * What an earlier supervisor left under the same command line is adopted if it still answers, and ended otherwise. Its port is kept where
 * possible, because clients may still be using it.
 */
export async function superviseChild(spec: ChildSpec, earlier: ChildRecord | undefined): Promise<SupervisedChild> {
  const started = (await adopt(spec, earlier)) ?? (await startSomewhere(spec, earlier?.port));
  const stopping = new AbortController();
  const watching = keepRunning(spec, started, stopping.signal);
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

async function adopt(spec: ChildSpec, earlier: ChildRecord | undefined): Promise<Running | undefined> {
  if (earlier === undefined) return undefined;
  const server = findProcess(earlier.command);
  if (server === undefined) return undefined;
  const { port } = earlier;
  // Another version of the project may have started it with other arguments: then it is ours to end, not to use.
  const isCurrent = spec.command(port).join('\0') === earlier.command.join('\0');
  if (isCurrent && (await isListening(port))) {
    spec.record({ ...earlier, pid: server.pid });
    return { port, server };
  }
  await server.stop();
  return undefined;
}

async function startSomewhere(spec: ChildSpec, preferredPort: number | undefined): Promise<Running> {
  for (let attempt = 1; ; attempt += 1) {
    const port = attempt === 1 && preferredPort !== undefined ? preferredPort : await freePort();
    try {
      return { port, server: await start(spec, port) };
    } catch (error) {
      // Between asking for a free port and using it, somebody else may have taken it.
      if (attempt === PORT_ATTEMPTS) {
        throw new Error(`${spec.name} does not start; its log ends with: ${logTail(spec.logs, spec.name)}`, {
          cause: error,
        });
      }
    }
  }
}

async function start(spec: ChildSpec, port: number): Promise<Process> {
  const command = spec.command(port);
  spec.record({ pid: null, port, command });
  const server = withLog(spec.logs, spec.name, (log) => startProcess(command, ['ignore', log, log], spec.environment));
  spec.record({ pid: server.pid, port, command });
  try {
    await untilListening(port, server, START_WITHIN_MS);
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Resolves when the child was stopped, or could not be kept running. */
async function keepRunning(spec: ChildSpec, first: Running, stopping: AbortSignal): Promise<void> {
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
    server = await start(spec, port).catch(() => undefined); // Counted as a short life; why is in its log.
  }
  spec.failed(new Error(`${spec.name} died ${MAX_SHORT_LIVES} times in a row; see its log in ${spec.logs}`));
}
