import { execFile } from 'node:child_process';
import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { install, INTEROP_FOLDER, oneAtATime } from './install.ts';

const run = promisify(execFile);

/** Pinned: rules come and go with its versions. */
const VERSION = '1.58.0';
const REGION = 'eu-central-1';
const TIMEOUT_MS = 180_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** One finding of cfn-lint. */
export interface Finding {
  readonly Rule: { readonly Id: string };
  readonly Message: string;
  readonly Location: { readonly Path: readonly (string | number)[] };
}

/**
 * What cfn-lint says of the template, errors and warnings.
 *
 * @throws Error when it cannot be installed, or fails.
 */
export async function lint(template: string): Promise<readonly Finding[]> {
  const program = await installed();
  const args = ['--format', 'json', '--regions', REGION, '--template', template];
  try {
    await run(program, args, { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_BYTES });
    return [];
  } catch (error) {
    const { code, stdout } = error as { code?: number | string; stdout?: string };
    // Its status is a sum of bits, one for each kind of finding; 1 is a failure of its own.
    if (typeof code === 'number' && code > 1 && stdout !== undefined) return JSON.parse(stdout) as Finding[];
    throw error;
  }
}

/** From PyPI, in an environment of its own. */
async function installed(): Promise<string> {
  const folder = join(INTEROP_FOLDER, `cfn-lint-${VERSION}`);
  const program = join(folder, 'bin', 'cfn-lint');
  try {
    accessSync(program);
  } catch {
    // Not there yet. pip links the program last, so one that is there is whole.
    await install('python3');
    const script = '[ -x "$1/bin/cfn-lint" ] || { python3 -m venv "$1" && "$1/bin/pip" install -q "cfn-lint==$2"; }';
    await oneAtATime(script, [folder, VERSION]);
  }
  return program;
}
