import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Images } from '../catalog/ports.ts';
import { allImages } from '../images/images.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { openRegistry, type RegistryAnswer, type RegistryRequest } from '../http/registry/open-registry.ts';
import { registryServer } from '../http/registry/registry-server.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { localJobs, type LocalJobsDeps } from '../jobs/local-jobs.ts';
import type { Reference } from '../reference/reference.ts';
import type { ServeCall } from '../serve/serving.ts';
import { type ServePatience, USUAL_PATIENCE } from '../serve/settings.ts';
import { upstreamFetcher } from '../serve/upstream-fetcher.ts';
import { processWaitingRoom } from '../serve/waiting-room.ts';
import type { Services } from '../services.ts';
import { configured, openCache } from './cache.ts';
import { exampleReference, ownCommand, pullHints } from './hints.ts';
import { type LogOptions, outputLogger } from './output-logger.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';

/** This server has no smaller limit than the largest manifest that the cache accepts. */
const LIMITS = { bodyBytes: 32 * 1024 * 1024 };

/** The services needed to serve on this machine. */
type LocalServices = Pick<Services, 'config' | 'pull' | 'records' | 'presigner' | 'users' | 'publishedKey'>;

/** The distribution API in this process, with the login that `serve.auth` asks for. Asks the registries itself. */
export function localRegistry(
  { config, pull, records, presigner, users, publishedKey }: LocalServices,
  jobs: Jobs,
  patience: ServePatience = USUAL_PATIENCE,
): (asked: ServeCall & { readonly request: RegistryRequest }) => Promise<RegistryAnswer> {
  const answer = openRegistry({
    ...pull,
    config,
    fetcher: upstreamFetcher(pull),
    waitingRoom: processWaitingRoom(config.serve.waiting),
    jobs,
    records,
    presigner,
    patience,
    users,
    publishedKey,
  });
  return ({ request, ...call }) => answer({ request, limits: LIMITS }, call);
}

export interface ServeOptions extends LogOptions {
  /** On 127.0.0.1; 0 takes a free one. */
  readonly port: number;
  /** No hints. */
  readonly isQuiet: boolean;
}

/** Time to find an image for the hints. */
const EXAMPLES_MS = 1_000;
const MOST_EXAMPLES = 20;
const UNUSED_METRICS = { add: () => undefined };

/**
 * Serves container runtimes on loopback until the signal, from the cache that the configuration names. Pulls run in this process, or in the workflow if one is
 * configured.
 */
export async function runServe(
  { port, isQuiet, ...log }: ServeOptions,
  output: Output,
  signal: AbortSignal,
): Promise<ExitCode> {
  await using cache = await openCache(configured(output), output, signal);
  const { services } = cache;
  const logger = outputLogger(output, log);
  await using own = localJobs(jobsDepsOf(services), (id, error) => logger.error(`pull ${id} stopped`, error));
  const jobs: Jobs = services.deployment.stateMachine === undefined ? own : services.jobs;
  const registry = localRegistry(services, jobs);
  const server = registryServer((request, left) =>
    registry({ request, signal: AbortSignal.any([signal, left]), logger, metrics: UNUSED_METRICS }),
  );
  await listening(server.listen(port, '127.0.0.1'), port);
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const next = isQuiet ? [] : await hints(origin, services, signal);
  output.status(undefined);
  output.result({ origin }, [`registry   ${origin}/v2/`, ...next]);
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
    throw new ConfigError(`cannot listen on port ${port}: ${(cause as Error).message}; choose another --port`, cause);
  }
}

function jobsDepsOf({ pull, records }: Services): LocalJobsDeps {
  // There is no event bus on this machine.
  return { pull, records, announcer: { announce: () => Promise.resolve() }, metrics: UNUSED_METRICS };
}

/** Commands to try next, if possible with an image that is in the cache. */
async function hints(origin: string, { config, catalog }: Services, signal: AbortSignal): Promise<readonly string[]> {
  const example = exampleReference(config, await someCached(catalog, signal));
  return [
    '',
    'Try:',
    ...pullHints(new URL(origin).host, config, example),
    `  ${ownCommand()} mirror-config docker --url ${origin}`,
    '  # or containerd, podman: then image names stay as they are, and pulls go through the cache',
  ];
}

/** Some images of the cache, for an example: bounded in time, and empty if the cache cannot be read. */
async function someCached(catalog: Images, signal: AbortSignal): Promise<readonly Reference[]> {
  const found: Reference[] = [];
  try {
    for await (const { reference, pointer } of allImages(
      catalog,
      AbortSignal.any([signal, AbortSignal.timeout(EXAMPLES_MS)]),
    )) {
      if (pointer.published !== undefined) found.push(reference);
      if (found.length === MOST_EXAMPLES) break;
    }
  } catch (error) {
    // The first request reports a cache that cannot be read.
    if (!(error instanceof Error)) throw error;
  }
  return found;
}
