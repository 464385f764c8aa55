import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../bundles.ts';

const PROGRAM = join(ROOT, 'node_modules', 'serverless', 'bin', 'serverless.js');
const OUTPUT_CHARACTERS = 64 * 1024;

/** osls failed; the message is its output. */
export class OslsError extends Error {
  override readonly name = 'OslsError';
}

/**
 * Runs osls in the folder of a serverless.yml, on the Node that runs us, and returns what it printed.
 *
 * @throws OslsError with its output, if it fails.
 */
export async function osls(
  args: readonly string[],
  options: { readonly folder: string; readonly environment: NodeJS.ProcessEnv; readonly signal: AbortSignal },
): Promise<string> {
  const { folder, environment, signal } = options;
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: folder,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let output = '';
  const keep = (chunk: string): void => {
    output = (output + chunk).slice(-OUTPUT_CHARACTERS);
  };
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  const status = await new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, killedBy) => {
      resolve(code ?? killedBy ?? 1);
    });
  });
  if (status !== 0) throw new OslsError(`osls ${args[0] ?? ''} failed (${status}):\n${output.trim()}`);
  return output;
}
