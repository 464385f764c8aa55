import assert from 'node:assert/strict';
import type { Process } from '../../infra/local/processes.ts';
import { freePort, startProcess, untilListening } from '../../infra/local/processes.ts';
import type { S3Server } from './s3-suite-support.ts';

/** How an S3 server is run as a process of its own. */
export interface S3Program {
  readonly command: (port: number) => readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A server that can be started again on the same state after a SIGKILL. */
export interface S3Process {
  start(): Promise<S3Server>;
  kill(): Promise<void>;
}

const START_TIMEOUT_MS = 30_000;
const START_ATTEMPTS = 3;

/** The program as a subject of the suite: one process at a time, which does not outlive the test process. */
export function s3Process(program: S3Program): S3Process {
  let current: Process | undefined;
  const killWithUs = (): void => {
    if (current?.isRunning()) process.kill(current.pid, 'SIGKILL');
  };
  return {
    start: async () => {
      assert.ok(!current?.isRunning(), 'the server is running already');
      process.off('exit', killWithUs);
      process.on('exit', killWithUs);
      for (let attempt = 1; ; attempt++) {
        const port = await freePort();
        const server = startProcess(program.command(port), ['ignore', 'ignore', 'inherit'], program.environment);
        current = server;
        try {
          await untilListening(port, server, START_TIMEOUT_MS);
          const { region, accessKeyId, secretAccessKey } = program;
          const endpoint = `http://127.0.0.1:${port}`;
          return { endpoint, region, accessKeyId, secretAccessKey, close: () => server.stop() };
        } catch (error) {
          await server.stop();
          // Between asking for a free port and using it, somebody else may have taken it.
          if (attempt === START_ATTEMPTS) throw error;
        }
      }
    },
    kill: async () => {
      const server = current;
      assert.ok(server, 'the server was never started');
      assert.ok(server.isRunning(), 'the server ended by itself');
      process.kill(server.pid, 'SIGKILL');
      await server.ended;
    },
  };
}
