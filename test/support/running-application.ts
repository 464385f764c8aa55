import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import type { EnvironmentStatus } from '../../infra/local/app/functions.ts';
import { childEnvironment } from '../../infra/local/processes.ts';

const run = promisify(execFile);
const LAUNCHER = fileURLToPath(new URL('../../lib/cli/entrepot.js', import.meta.url));
/** Bundling nine functions takes seconds on a busy machine. */
const START_WITHIN_MS = 60_000;

/** The answer that curl got. */
export interface CurlAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The body as JSON. */
  readonly document: unknown;
}

/** `entrepot local --all` as a child process, on a home of its own. */
export interface RunningApplication extends AsyncDisposable {
  readonly origin: string;
  /** The folder of the home, and of the configuration. */
  readonly folder: string;
  /** Its printed environment variables. */
  readonly environment: Readonly<Record<string, string>>;
  /** Calls the path with curl and these additional options. */
  curl(path: string, ...options: readonly string[]): Promise<CurlAnswer>;
  environments(): Promise<readonly EnvironmentStatus[]>;
  /** Its output so far. */
  shown(): string;
  /** Interrupts it, as Ctrl-C does; its exit code. */
  interrupt(): Promise<number | null>;
}

/** @param logins what Docker's `config.json` holds. */
export async function startRunningApplication(configuration: object, logins: object = {}): Promise<RunningApplication> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-app-'));
  const config = join(folder, 'entrepot.yaml');
  await writeFile(config, stringify(configuration));
  await writeFile(join(folder, 'config.json'), JSON.stringify(logins));
  const child = spawn(process.execPath, [LAUNCHER, 'local', '--all', '--port', '0', '--json'], {
    cwd: folder,
    env: { ...childEnvironment(), ENTREPOT_CONFIG: config, ENTREPOT_HOME: join(folder, 'home'), DOCKER_CONFIG: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let shown = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (shown += chunk));
  const exited = once(child, 'exit');
  const stop = async (): Promise<number | null> => {
    child.kill('SIGINT');
    await exited;
    return child.exitCode;
  };
  let printed: Readonly<Record<string, string>>;
  try {
    printed = await firstDocument(child);
  } catch (error) {
    await stop();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  const { origin = '', ...environment } = printed;
  const curl = async (path: string, ...options: readonly string[]): Promise<CurlAnswer> => {
    const args = ['--silent', '--show-error', '--include', '--max-time', '40', ...options, `${origin}${path}`];
    return answerOf((await run('curl', args, { maxBuffer: 64 * 1024 * 1024 })).stdout);
  };
  return {
    origin,
    folder,
    environment,
    curl,
    environments: async () =>
      ((await curl('/_local/functions')).document as { environments: EnvironmentStatus[] }).environments,
    shown: () => shown,
    interrupt: stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function firstDocument(child: ChildProcess): Promise<Readonly<Record<string, string>>> {
  let [stdout, stderr] = ['', ''];
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (why: string): void => reject(new Error(`the application ${why}: ${stdout}${stderr}`));
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    if (stdout.includes('\n')) resolve(stdout);
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  child.once('exit', () => fail('ended'));
  const timer = setTimeout(() => fail('did not start'), START_WITHIN_MS);
  try {
    const document = JSON.parse(await promise) as Record<string, string>;
    if (document.origin === undefined) throw new Error(`the application did not start: ${stdout}${stderr}`);
    return document;
  } finally {
    clearTimeout(timer);
  }
}

/** The last head and its body; curl prints one more head after `Expect: 100-continue`. */
function answerOf(output: string): CurlAnswer {
  const [head = '', ...rest] = output.replace(/^(?:HTTP\/1\.1 100 [^\r]*\r\n\r\n)+/, '').split('\r\n\r\n');
  const body = rest.join('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const at = line.indexOf(':');
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  });
  return {
    status: Number(statusLine.split(' ')[1]),
    headers: Object.fromEntries(headers),
    body,
    get document() {
      return JSON.parse(body) as unknown;
    },
  };
}
