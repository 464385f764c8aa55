import { build } from 'esbuild';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BOOTSTRAP = fileURLToPath(new URL('bootstrap.ts', import.meta.url));

/**
 * What runs in an execution environment here, and calls the handler: a program in the folder, and the command that starts it. JavaScript: what takes the types
 * away is half of such a start, and there are many.
 */
export async function buildRuntime(folder: string): Promise<readonly string[]> {
  const outfile = join(folder, 'bootstrap.mjs');
  await build({ entryPoints: [BOOTSTRAP], outfile, format: 'esm', platform: 'node', logLevel: 'warning' });
  return [process.execPath, outfile];
}
