/*
 * npm test [FILTER...]            everything but interop
 * npm run interop [-- FILTER...]  against real servers and clients
 *
 * A filter is a part of a file's path: `npm test -- unit/oci` runs the files with that in their path.
 */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

/** In order: the files that take longest begin first, so that the short ones fill the gaps. */
const SUITES = { test: ['faults', 'integration', 'conformance', 'unit'], interop: ['interop'] } as const;
/** A test file that takes longer hangs. The kill test with all its seeds is the longest. */
const FILE_TIMEOUT_MS = 10 * 60_000;

const TESTS = fileURLToPath(new URL('.', import.meta.url));
const PROJECT = join(TESTS, '..');

function testFiles(folders: readonly string[], filters: readonly string[]): string[] {
  const all = folders.flatMap((folder) => {
    const names = readdirSync(join(TESTS, folder), { recursive: true, encoding: 'utf8' }).sort();
    return names.filter((name) => name.endsWith('.test.ts')).map((name) => join(TESTS, folder, name));
  });
  if (filters.length === 0) return all;
  return all.filter((file) => filters.some((filter) => relative(PROJECT, file).includes(filter)));
}

async function main(args: readonly string[]): Promise<number> {
  const isInterop = args[0] === 'interop';
  const filters = isInterop ? args.slice(1) : args;
  const files = testFiles(isInterop ? SUITES.interop : SUITES.test, filters);
  if (files.length === 0) {
    console.error(`no test file matches ${filters.join(' ') || 'at all'}: nothing was tested`);
    return 1;
  }
  // Meant for the world outside: the test servers are plain ones on loopback, and some of them choke on these.
  for (const name of ['AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']) Reflect.deleteProperty(process.env, name);

  // Interop files share daemons, ports and an installation; the others share nothing.
  const concurrency = isInterop ? 1 : availableParallelism();
  const results = run({ files, concurrency, timeout: FILE_TIMEOUT_MS, cwd: PROJECT });
  let isGreen = false as boolean;
  results.on('test:summary', ({ file, success, counts }) => {
    if (file === undefined) isGreen = success && counts.passed > 0; // The others are of one file each; this one is of all.
  });
  const withoutTests: string[] = [];
  results.on('test:pass', ({ name, nesting }) => {
    // Node counts a file in which no test ran as a test of that name that passed.
    if (nesting === 0 && files.includes(name)) withoutTests.push(name);
  });
  await pipeline(results, new spec(), process.stdout, { end: false });
  for (const file of withoutTests) console.error(`${relative(PROJECT, file)}: no test ran in this file`);
  return isGreen && withoutTests.length === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
