import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { compileConfig } from '../../../lib/config/compiled.ts';
import type { Config } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { bundleFunctions } from '../../bundles.ts';
import { tryLock } from '../file-lock.ts';
import { homeAt, writePrivate } from '../home.ts';
import type { StackEndpoints } from '../local-stack.ts';
import { type ActivityLine, openActivity } from './activity.ts';
import { controlOf } from './control.ts';
import { startCore } from './core.ts';
import { readDeployment } from './deployment.ts';
import { ACCOUNT_ID } from './gateway.ts';
import { openEndpoint } from './endpoint.ts';
import { parseLocalCaller } from './gateway.ts';
import { startS3Events } from './s3-events.ts';
import { startScheduler } from './scheduler.ts';

const BOOTSTRAP = fileURLToPath(new URL('bootstrap.ts', import.meta.url));

/**
 * Builds the program that runs in an execution environment and calls the handler, and returns the command that starts it. It is JavaScript, because
 * stripping types takes half of each start.
 */
export async function buildRuntime(folder: string): Promise<readonly string[]> {
  const outfile = join(folder, 'bootstrap.mjs');
  await build({ entryPoints: [BOOTSTRAP], outfile, format: 'esm', platform: 'node', logLevel: 'warning' });
  return [process.execPath, outfile];
}

export interface LocalApplicationOptions {
  /** Of the embedded stack; what the application writes is in its folders `app` and `logs`. */
  readonly home: string;
  readonly stack: StackEndpoints;
  readonly config: Config;
  /** Of the HTTP API; 0: any free one. */
  readonly port: number;
  /** ARN of the principal of every request, in a form that parseLocalCaller accepts. */
  readonly callerArn: string;
  /** Called with each step of the start. */
  readonly onStep?: (step: string) => void;
  /** Called for each request, execution and warm-up. */
  readonly onActivity?: ActivityLine;
}

/** The application of serverless.yml, running on this machine. */
export interface LocalApplication extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`: the HTTP API. */
  readonly origin: string;
  /** Environment variables for other programs: endpoints and resources. */
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * Runs the whole application on loopback: its HTTP API, the functions from their real bundles, each environment a process, the state machine, the
 * event bus with its rules, and the schedules; from the same serverless.yml and infra/ that are deployed. Nothing of it outlives this process.
 *
 * @throws ConfigError; Error saying why it cannot run here.
 */
export async function startApplication(options: LocalApplicationOptions): Promise<LocalApplication> {
  const { home, stack, config, port, callerArn, onStep = () => undefined, onActivity } = options;
  if (config.access.jwt !== undefined) {
    throw new ConfigError(
      'the configuration has access.jwt, and this machine cannot issue tokens: set ENTREPOT_CONFIG to a configuration without it',
    );
  }
  const caller = parseLocalCaller(callerArn);
  await using resources = new AsyncDisposableStack();
  const folder = join(home, 'app');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  resources.use(onlyOneIn(folder));
  onStep('reading serverless.yml');
  const deployment = await readDeployment(config, stack);
  onStep('bundling the functions');
  const taskRoots = await buildInto(join(folder, 'functions'), compileConfig(config));
  const runtime = await buildRuntime(folder);
  const { logs } = homeAt(home);
  onStep('starting the services');
  const activity = openActivity(onActivity);
  const executionsFile = join(folder, 'executions.json');
  const { dockerConfigPath } = config;
  const own = { taskRoots, runtime, logs, executionsFile, dockerConfigPath };
  const core = resources.use(await startCore({ deployment, stack, activity, ...own }));
  const { functions, deliveries, events, schedules, environment } = core;
  const { s3Root: root } = homeAt(home);
  const put = (event: object): void => events.put('default', event);
  resources.use(startS3Events({ root, region: stack.region, accountId: ACCOUNT_ID, put }));
  const scheduler = resources.use(startScheduler(schedules, deliveries));
  const control = controlOf(functions, scheduler, events, activity);
  const { routes } = deployment.service;
  const endpoint = resources.use(await openEndpoint({ port, routes, functions, caller, control, activity }));
  const shown = join(folder, ENVIRONMENT);
  writePrivate(shown, environment);
  resources.defer(() => rmSync(shown, { force: true }));
  const running = resources.move();
  return { origin: endpoint.origin, environment, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

const LOCK = 'application.lock';
const ENVIRONMENT = 'environment.json';

/**
 * The environment variables of the application that another process runs on this home.
 *
 * @throws ConfigError if none runs.
 */
export function runningEnvironment(home: string): Readonly<Record<string, string>> {
  const folder = join(home, 'app');
  const file = join(folder, ENVIRONMENT);
  if (existsSync(file)) {
    // If no process holds the lock, a killed one left the file.
    using lock = tryLock(join(folder, LOCK), 0);
    if (lock === undefined) return JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, string>>;
  }
  throw new ConfigError(`no application runs on ${home}; start it in another terminal, without --env`);
}

/** Two applications on one home would fire every schedule twice, so the second one fails. */
function onlyOneIn(folder: string): Disposable {
  const lock = tryLock(join(folder, LOCK), 0);
  if (lock !== undefined) return lock;
  throw new Error(`another process runs the application of ${folder}; end it, or choose another ENTREPOT_HOME`);
}

/** Bundles the functions from the current sources. The folder of each function is the content of its zip. */
async function buildInto(folder: string, config: string): Promise<ReadonlyMap<string, string>> {
  const bundles = await bundleFunctions(folder);
  for (const bundle of bundles) writeFileSync(join(bundle.folder, 'config.json'), config, { mode: 0o600 });
  return new Map(bundles.map(({ name, folder: taskRoot }) => [name, taskRoot]));
}
