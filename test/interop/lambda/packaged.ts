import { unzipSync } from 'fflate';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { bundleFunctions } from '../../../infra/bundles.ts';
import { startCore, type Core } from '../../../infra/local/app/core.ts';
import type { Route } from '../../../infra/local/app/gateway.ts';
import { readDeployment } from '../../../infra/local/app/deployment.ts';
import type { StackEndpoints } from '../../../infra/local/local-stack.ts';
import { zipFunctions } from '../../../infra/packaging/zips.ts';
import { compileConfig } from '../../../lib/config/compiled.ts';
import { loadConfig } from '../../../lib/config/config.ts';
import { runtimeClient } from './runtime-client.ts';

/** The application from its zips, under AWS's runtime interface client. */
export interface PackagedApplication extends Core {
  /** Of its HTTP API. */
  readonly routes: readonly Route[];
  /** Of each function: what it wrote. */
  logOf(functionName: string): Promise<string>;
}

export interface PackagedOptions {
  readonly stack: StackEndpoints;
  /** What `entrepot.yaml` says. */
  readonly configuration: object;
  /** In place of those of serverless.yml. */
  readonly timeoutsMs?: Readonly<Record<string, number>>;
}

/**
 * Packages the functions as `npm run package` does, unzips each into a folder of its own and runs them from there, with nothing of the project around.
 */
export async function startPackaged({
  stack,
  configuration,
  timeoutsMs = {},
}: PackagedOptions): Promise<PackagedApplication> {
  const runtime = await runtimeClient();
  await using resources = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-lambda-'));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'entrepot.yaml'), stringify(configuration));
  // With the rules of Lambda; registries on this machine, which packaging refuses, are reached from here.
  const { bucket, table } = stack;
  const config = loadConfig(
    { AWS_LAMBDA_FUNCTION_NAME: 'pull', ENTREPOT_BUCKET: bucket, ENTREPOT_TABLE: table },
    folder,
  );
  const bundles = await bundleFunctions(join(folder, 'bundles'));
  const zips = await zipFunctions(bundles, compileConfig(config), join(folder, 'zips'));
  const taskRoots = new Map<string, string>();
  for (const { name, path } of zips) {
    const taskRoot = join(folder, 'task', name);
    await unzip(path, taskRoot);
    taskRoots.set(name, taskRoot);
  }
  // Only what was unzipped is left to run.
  await rm(join(folder, 'bundles'), { recursive: true });

  const deployment = await readDeployment(config, stack);
  const functions = deployment.service.functions.map((one) => ({
    ...one,
    timeoutMs: timeoutsMs[one.name] ?? one.timeoutMs,
  }));
  const logs = join(folder, 'logs');
  await mkdir(logs);
  const core = resources.use(
    await startCore({
      deployment: { ...deployment, service: { ...deployment.service, functions } },
      stack,
      taskRoots,
      runtime,
      logs,
    }),
  );
  const running = resources.move();
  return {
    ...core,
    routes: deployment.service.routes,
    logOf: (name) => readFile(join(logs, `function-${name}.log`), 'utf8'),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function unzip(zip: string, folder: string): Promise<void> {
  for (const [path, bytes] of Object.entries(unzipSync(await readFile(zip)))) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  }
}
