import { join } from 'node:path';
import { bundleFunctions, ROOT } from './bundles.ts';

/*
 * npm run build: bundles each function to dist/functions/<name>/.
 */

const kib = (bytes: number): string => `${(bytes / 1024).toFixed(0)} KiB`.padStart(9);

for (const { name, bytes, eagerBytes, packages } of await bundleFunctions(join(ROOT, 'dist', 'functions'))) {
  console.log(`${name.padEnd(9)} ${kib(eagerBytes)} at start, ${kib(bytes)} in all, ${packages.size} packages`);
}
