import { execFile } from 'node:child_process';
import { accessSync, mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { INTEROP_FOLDER, oneAtATime } from './install.ts';

const run = promisify(execFile);

const MODULE = 'github.com/opencontainers/distribution-spec/conformance';
/** Pinned: of the suite that was written anew for version 1.1 of the specification, and of the last one before it. */
const VERSIONS = {
  current: 'v0.0.0-20260831232431-97274622c111',
  before: 'v0.0.0-20231101194043-f2182352d4cc',
} as const;
/**
 * The one line is a fault of this version: without pushes it reads the name of test data that was never made, and ends before it has written its reports.
 */
const BUILD_CURRENT = `[ -x "$1/conformance" ] || {
  cd "$1" && export GOFLAGS=-mod=mod && go get "$2" && from="$(go list -f '{{.Dir}}' "$2")" &&
  mkdir -p source && cp "$from"/*.go "$from"/go.mod "$from"/go.sum source && chmod -R u+w source && cd source &&
  sed 's/^\\t\\tresults\\.Data\\[r\\.State\\.Data\\[k\\]\\.name\\] = v$/if data, ok := r.State.Data[k]; ok { results.Data[data.name] = v }/' "$from/run.go" > run.go &&
  ! cmp -s "$from/run.go" run.go &&
  go build -o ../incoming . && mv ../incoming ../conformance
}`;
/** Made of Go's tests, where the newer one is a program. */
const BUILD_BEFORE = `[ -x "$1/conformance" ] || {
  cd "$1" && GOFLAGS=-mod=mod go test -c -o incoming "$2" && mv incoming conformance
}`;
const RUN_WITHIN_MS = 120_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

export type SuiteName = keyof typeof VERSIONS;

/** What a suite counted. */
export interface Conformance {
  readonly tests: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What it printed. */
  readonly output: string;
}

/**
 * Runs the conformance suite of the specification, built by Go from its module proxy where it is not there yet. Its reports, `junit.xml` among them, are in
 * `folder` afterwards.
 *
 * @throws Error when it cannot be built, or ends without a report.
 */
export async function runConformance(
  name: SuiteName,
  environment: Readonly<Record<string, string>>,
  folder: string,
  args: readonly string[] = [],
): Promise<Conformance> {
  const program = await build(name);
  mkdirSync(folder, { recursive: true });
  const { PATH = '', HOME = '' } = process.env;
  const options = {
    cwd: folder,
    env: { PATH, HOME, ...environment },
    timeout: RUN_WITHIN_MS,
    maxBuffer: OUTPUT_BYTES,
  };
  // Its exit code says that something failed; the report says what.
  const { stdout, stderr } = await run(program, args, options).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  return { ...countsIn(await readFile(join(folder, 'junit.xml'), 'utf8')), output: `${stdout}\n${stderr}` };
}

/** Of JUnit's format as both suites write it. What is neither passed nor skipped has failed, whatever they call it. */
function countsIn(junit: string): Omit<Conformance, 'output'> {
  const cases = [...junit.matchAll(/<testcase\s[^>]*?\bstatus="(\w+)"/g)].map(([, status]) => status);
  const count = (wanted: string): number => cases.filter((status) => status === wanted).length;
  const [passed, skipped] = [count('passed'), count('skipped')];
  return { tests: cases.length, passed, skipped, failed: cases.length - passed - skipped };
}

async function build(name: SuiteName): Promise<string> {
  const version = VERSIONS[name];
  const folder = join(INTEROP_FOLDER, `conformance-${version}`);
  const program = join(folder, 'conformance');
  try {
    accessSync(program);
  } catch {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'go.mod'), `module conformance\n\ngo 1.24\n\nrequire ${MODULE} ${version}\n`);
    writeFileSync(join(folder, 'empty.go'), 'package conformance\n');
    await oneAtATime(name === 'current' ? BUILD_CURRENT : BUILD_BEFORE, [folder, MODULE]);
  }
  return program;
}
