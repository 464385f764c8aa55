import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { ConfigError } from '../errors/cache-error.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { registryServer } from '../http/registry/registry-server.ts';
import type { Services } from '../services.ts';
import { localJobs, type LocalJobsDeps } from '../jobs/local-jobs.ts';
import { openCache } from './cache.ts';
import { localRegistry } from './local-registry.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';
import { outputLogger } from './output-logger.ts';

export interface ServeOptions {
  /** On 127.0.0.1; 0: any free one. */
  readonly port: number;
}

const UNUSED_METRICS = { add: () => undefined };

/**
 * Answers container runtimes on loopback until the signal, from the cache that the configuration names; pulls run in this process, or in the workflow where
 * one is configured.
 */
export async function runServe({ port }: ServeOptions, output: Output, signal: AbortSignal): Promise<ExitCode> {
  await using cache = await openCache(signal);
  const { services } = cache;
  const logger = outputLogger(output);
  await using own = localJobs(jobsDepsOf(services), (id, error) => logger.error(`pull ${id} stopped`, error));
  const jobs: Jobs = services.deployment.stateMachine === undefined ? own : services.jobs;
  const registry = localRegistry(services, jobs);
  const server = registryServer((request, left) =>
    registry({ request, signal: AbortSignal.any([signal, left]), logger, metrics: UNUSED_METRICS }),
  );
  await listening(server.listen(port, '127.0.0.1'), port);
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  output.result({ origin }, [`registry   ${origin}/v2/`, ...hints(origin, services)]);
  output.note('\nRunning until Ctrl-C.');
  if (!signal.aborted) await once(signal, 'abort');
  server.closeAllConnections();
  server.close();
  return EXIT.done;
}

async function listening(server: ReturnType<typeof registryServer>, port: number): Promise<void> {
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new ConfigError(
      `port ${port} cannot be listened on: ${(cause as Error).message}; choose another --port`,
      cause,
    );
  }
}

function jobsDepsOf({ pull, records }: Services): LocalJobsDeps {
  // No bus on this machine: nobody listens.
  return { pull, records, announcer: { announce: () => Promise.resolve() }, metrics: UNUSED_METRICS };
}

function hints(origin: string, { config }: Services): readonly string[] {
  const host = origin.replace('http://', '');
  const [registry = 'docker.io'] = config.registries.keys();
  const image = registry === 'docker.io' ? 'library/alpine:3.20' : 'team/app:v1';
  return [
    '',
    'Try:',
    `  docker pull ${host}/${registry}/${image}        # any registry of the configuration, by its name`,
    `  entrepot mirror-config docker --url ${origin}       # or containerd, podman: the same names as ever, through the cache`,
  ];
}
