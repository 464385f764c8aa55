import { build } from 'esbuild';
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

/*
 * Bundles each function to dist/functions/<name>.mjs, with everything it needs inside: the zip of a Lambda is that one file and its map.
 */

const ROOT = join(import.meta.dirname, '..');
const OUT = join(ROOT, 'dist', 'functions');

/** CommonJS packages inside an ES module ask for Node's own modules by `require`, which ES modules do not have. */
const BANNER =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

const names = (await readdir(join(ROOT, 'functions'))).filter((name) => name.endsWith('.ts'));
await rm(OUT, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: names.map((name) => join('functions', name)),
  outdir: OUT,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  // The ES modules of the AWS SDK shake down to what is used.
  mainFields: ['module', 'main'],
  minify: true,
  // Errors keep their names: they are in logs and answers.
  keepNames: true,
  sourcemap: 'linked',
  sourcesContent: false,
  banner: { js: BANNER },
  metafile: true,
});

for (const [path, output] of Object.entries(metafile.outputs)) {
  if (output.entryPoint === undefined) continue;
  const local = Object.keys(output.inputs).find((input) => input.startsWith('infra/'));
  if (local !== undefined)
    throw new Error(`${basename(path)} holds ${local}: nothing of infra/ belongs into a function`);
  const modules = Object.keys(output.inputs).length;
  console.log(`${path}  ${(output.bytes / 1024).toFixed(0)} KiB from ${modules} modules`);
}
