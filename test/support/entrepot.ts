import { execFile } from 'node:child_process';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../infra/local/processes.ts';
import { runCommandLine } from '../../lib/cli/main.ts';
import type { Streams } from '../../lib/cli/output.ts';

export const LAUNCHER = fileURLToPath(new URL('../../lib/cli/entrepot.js', import.meta.url));

/** The result of a run of `entrepot`. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as documents, one a line. */
  readonly documents: unknown[];
}

type Environment = Readonly<Record<string, string>>;

/** `entrepot` in this process. */
export const entrepot = (args: readonly string[], environment: Environment): Promise<Run> =>
  captured(environment, (streams) => runCommandLine(args, streams));

/** The output of the work, which runs in this environment. One at a time. */
export async function captured(environment: Environment, work: (streams: Streams) => Promise<number>): Promise<Run> {
  const before = { ...process.env };
  become({ ...childEnvironment(), ...environment });
  const [stdout, stderr] = [new Text(), new Text()];
  try {
    const code = await work({ stdout, stderr });
    return runOf(code, stdout.text, stderr.text);
  } finally {
    become(before);
  }
}

/** `entrepot` as a process of its own, for what needs one. */
export function entrepotProcess(args: readonly string[], environment: Environment, cwd = process.cwd()): Promise<Run> {
  const options = { cwd, env: { ...childEnvironment(), ...environment }, timeout: 90_000 };
  return new Promise((resolve) => {
    execFile(process.execPath, [LAUNCHER, ...args], options, (error, stdout, stderr) =>
      resolve(runOf(error === null ? 0 : typeof error.code === 'number' ? error.code : null, stdout, stderr)),
    );
  });
}

/** The result of a run with this exit code and output. */
export const runOf = (code: number | null, stdout: string, stderr: string): Run => ({
  code,
  stdout,
  stderr,
  get documents() {
    const lines = stdout.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as unknown);
  },
});

function become(environment: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(process.env)) if (!(name in environment)) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, environment);
}

class Text extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}
