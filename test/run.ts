/*
 * npm test [-- FILTER...]             everything but interop
 * npm run interop [-- FILTER...]      against real servers and clients, without what takes long
 * npm run interop -- all [FILTER...]  all of it: before each release
 *
 * A filter is a part of a file's path: `npm test -- unit/oci` runs the files with that in their path.
 * With --watch they run again whenever a file changes that they import.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { run, type RunOptions } from 'node:test';
import { spec } from 'node:test/reporters';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

/** In order: the folders with the longest files begin first, so that the short ones fill the gaps. */
const TEST_FOLDERS = ['conformance', 'faults', 'integration', 'unit'];
/**
 * Files that leave their process as it was share one, so many at a time: what they import, and that their code is fast by then, is much of what a small file costs.
 * Any other has its own; so has one that waits at its top level, or imports what does.
 */
const SHARING: readonly { readonly files: RegExp; readonly atATime: number }[] = [
  { files: /^test\/conformance\/content-store/, atATime: 1 },
  {
    files:
      /^test\/(conformance\/(?!content-store)|faults\/(?!kill)[^/]+$|integration\/(jobs|pull|rebuild|registry|serve|warmup)\/)/,
    atATime: 9,
  },
  { files: /^test\/unit\/(?!cli\/credential-helpers|cost\/cost|infra\/openapi)/, atATime: 1_000 },
];
/** Those that take longest in CI begin before all others. */
const LONGEST = 'test/faults/';
/** What of interop takes long and rarely breaks. */
const HEAVY = '.heavy.test.ts';
/** Files at once for each core: most of them wait most of the time. */
const FILES_PER_CORE = 3;
/** Of V8, for processes that live for seconds beside others: code is made fast early, and garbage is collected seldom, by no threads of its own. */
const FOR_SHORT_LIVES = ['--no-lazy-feedback-allocation', '--max-semi-space-size=32', '--single-threaded-gc'];
/** A test that takes longer hangs. */
const TEST_TIMEOUT_MS = 5 * 60_000;
/** And one of those that take long: some build what they need first. */
const HEAVY_TIMEOUT_MS = 20 * 60_000;
/** The whole run ends then, whatever still runs. Well above what it takes on a slow machine. */
const RUN_TIMEOUT_MS = { tests: 30 * 60_000, interop: 60 * 60_000 };
/** Ends a file's process that does not end by itself: see there. */
const WATCHDOG = fileURLToPath(new URL('support/watchdog.ts', import.meta.url));

const TESTS = fileURLToPath(new URL('./', import.meta.url));
const PROJECT = join(TESTS, '..');
const SEVERAL_FILES = join(TESTS, 'support', 'several-files.ts');
/** Of this run alone: another one may be under way. */
const MADE = join(PROJECT, 'node_modules', '.cache', 'entrepot-tests', String(process.pid));

function testFiles(folders: readonly string[]): readonly string[] {
  return folders.flatMap((folder) => {
    const names = readdirSync(join(TESTS, folder), { recursive: true, encoding: 'utf8' }).sort();
    return names.filter((name) => name.endsWith('.test.ts')).map((name) => join(TESTS, folder, name));
  });
}

function chosenFiles(isInterop: boolean, words: readonly string[]): readonly string[] {
  const isAll = isInterop && words[0] === 'all';
  const filters = isAll ? words.slice(1) : words;
  if (!isInterop) return testFiles(TEST_FOLDERS).filter((file) => isNamed(file, filters));
  const files = testFiles(['interop']).filter((file) => isNamed(file, filters));
  return isAll || filters.length > 0 ? files : files.filter((file) => !file.endsWith(HEAVY));
}

const isNamed = (file: string, filters: readonly string[]): boolean =>
  filters.length === 0 || filters.some((filter) => relative(PROJECT, file).includes(filter));

/** What a process runs: a file, or one that is made here and runs a few. */
function inProcesses(files: readonly string[]): readonly string[] {
  const pathOf = (file: string): string => relative(PROJECT, file).replaceAll('\\', '/');
  const alone = files.filter((file) => !SHARING.some((some) => some.files.test(pathOf(file))));
  mkdirSync(MADE, { recursive: true });
  process.once('exit', () => rmSync(MADE, { recursive: true, force: true }));
  const made: string[] = [];
  for (const some of SHARING) {
    const sharing = files.filter((file) => some.files.test(pathOf(file)));
    for (let at = 0; at < sharing.length; at += some.atATime) {
      const file = join(MADE, `files-${made.length}.test.mjs`);
      const list = sharing.slice(at, at + some.atATime);
      const [runner, project, together] = [SEVERAL_FILES, PROJECT, list].map((one) => JSON.stringify(one));
      writeFileSync(file, `import { severalFiles } from ${runner};\nseveralFiles(${project}, ${together});\n`);
      made.push(file);
    }
  }
  const isLongest = (file: string): boolean => pathOf(file).startsWith(LONGEST);
  return [...alone.filter(isLongest), ...made, ...alone.filter((file) => !isLongest(file))];
}

/** Runs the files and prints what comes of them. True if all tests passed, and there was one in each file. */
async function passes(
  files: readonly string[],
  options: RunOptions,
  processes: readonly string[] = files,
): Promise<boolean> {
  if (files.length === 0) return true;
  const timeout = files.some((file) => file.endsWith(HEAVY)) ? HEAVY_TIMEOUT_MS : TEST_TIMEOUT_MS;
  const results = run({ files: processes, timeout, cwd: PROJECT, ...options });
  for (const file of processes) unfinished.add(file);
  let isGreen = false as boolean;
  results.on('test:summary', ({ file, success, counts }) => {
    if (file === undefined)
      isGreen = success && counts.passed > 0; // The others are of one file each; this one is of all.
    else unfinished.delete(file);
  });
  const withoutTests: string[] = [];
  let tests = 0;
  const count = ({
    name,
    nesting,
    details: { type },
  }: {
    name: string;
    nesting: number;
    details: { type?: string };
  }) => {
    if (type !== 'suite') tests += 1;
    if (nesting > 0) return;
    // Node counts a file of its own in which no test ran as a test of that name; one that shares its process is a suite.
    const isEmpty = type === 'suite' ? tests === 0 : processes.includes(name);
    if (isEmpty) withoutTests.push(name);
    tests = 0;
  };
  results.on('test:pass', count).on('test:fail', count);
  await pipeline(results, new spec(), process.stdout, { end: false });
  for (const file of withoutTests) console.error(`${file}: no test ran in this file`);
  return isGreen && withoutTests.length === 0;
}

/** Files whose summary has not come. */
const unfinished = new Set<string>();

/** The last resort: a grandchild that holds a file's output open keeps node's runner waiting, though no test runs any more. */
function endAfter(timeoutMs: number, isWatching: boolean): void {
  if (isWatching) return;
  const end = (): void => {
    console.error(`the run did not end within ${timeoutMs / 60_000} minutes: ${[...unfinished].join(', ')}`);
    process.exit(1);
  };
  setTimeout(end, timeoutMs).unref();
}

async function main(args: readonly string[]): Promise<number> {
  const isInterop = args[0] === 'interop';
  const isWatching = args.includes('--watch');
  const words = args.slice(isInterop ? 1 : 0).filter((word) => word !== '--watch');
  const files = chosenFiles(isInterop, words);
  if (files.length === 0) {
    console.error(`no test file matches ${words.join(' ') || 'at all'}: nothing was tested`);
    return 1;
  }
  // Meant for the world outside: the test servers are plain ones on loopback, and some of them choke on these.
  for (const name of ['AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']) Reflect.deleteProperty(process.env, name);
  // The processes of files compile much the same: the first one does it for all.
  process.env.NODE_COMPILE_CACHE ??= join(PROJECT, 'node_modules', '.cache', 'node');

  endAfter(isInterop ? RUN_TIMEOUT_MS.interop : RUN_TIMEOUT_MS.tests, isWatching);
  // Not forceExit: it loses what the process has not printed yet.
  const processOptions: RunOptions = { execArgv: ['--import', WATCHDOG, ...FOR_SHORT_LIVES] };
  // Interop files share daemons, ports and an installation; the others share nothing.
  const concurrency = isInterop ? 1 : availableParallelism() * FILES_PER_CORE;
  if (isWatching) return (await passes(files, { ...processOptions, concurrency, watch: true })) ? 0 : 1;
  const processes = isInterop ? files : inProcesses(files);
  return (await passes(files, { ...processOptions, concurrency }, processes)) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
