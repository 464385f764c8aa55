import { freePort, startProcess, untilListening } from '../../infra/local/processes.ts';

const START_TIMEOUT_MS = 30_000;
const START_ATTEMPTS = 3;

export interface ServerProcess extends AsyncDisposable {
  readonly port: number;
  /** Ends it. Idempotent. */
  readonly close: () => Promise<void>;
}

export interface ServerOptions {
  /** Where its output goes; nowhere if not given. */
  readonly log?: number;
  readonly environment?: NodeJS.ProcessEnv;
}

/**
 * Starts a server that is told its port, and returns once it listens. It ends with the test process, if not before.
 *
 * @throws Error when it does not start, on several ports.
 */
export async function startServer(
  commandFor: (port: number) => readonly string[] | Promise<readonly string[]>,
  { log, environment = {} }: ServerOptions = {},
): Promise<ServerProcess> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const command = await commandFor(port);
    const server = startProcess(command, ['ignore', log ?? 'ignore', log ?? 'ignore'], environment);
    const killWithUs = (): void => {
      if (server.isRunning()) process.kill(server.pid, 'SIGKILL');
    };
    process.once('exit', killWithUs);
    const close = async (): Promise<void> => {
      process.off('exit', killWithUs);
      await server.stop();
    };
    try {
      await untilListening(port, server, START_TIMEOUT_MS);
      return { port, close, [Symbol.asyncDispose]: close };
    } catch (cause) {
      await close();
      // Between asking for a free port and using it, somebody else may have taken it.
      if (attempt === START_ATTEMPTS) throw new Error(`${command[0]} did not start in ${attempt} attempts`, { cause });
    }
  }
}
