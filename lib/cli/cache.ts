import { type Config, loadConfig } from '../config/config.ts';
import type { StoreLocation } from '../config/environment.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { openServices, type Services } from '../services.ts';
import { dynamoClient } from '../table/dynamo-client.ts';
import type { Output } from './output.ts';

/**
 * The configuration of this environment and folder. `--verbose` prints its path and the cache.
 *
 * @throws ConfigError
 */
export function configured(output: Pick<Output, 'detail'>): Config {
  const config = loadConfig();
  output.detail(
    `configuration  ${config.file ?? `the built-in list of registries: no ENTREPOT_CONFIG is set, and ${process.cwd()} has no entrepot.yaml`}`,
  );
  output.detail(`cache          ${cacheName(config.store)}`);
  return config;
}

/** Where the content is, in words. */
export function cacheName(store: StoreLocation): string {
  if (store.kind === 'local') return `the embedded stack in ${store.home}`;
  const at = store.s3Endpoint === undefined ? '' : ` at ${withoutUser(store.s3Endpoint)}`;
  return `the bucket ${store.bucket}${at} and the table ${store.table}`;
}

/** A URL may hold a password, which must not be printed. */
const withoutUser = (url: string): string => url.replace(/\/\/[^/@]*@/, '//');

/** The cache that the configuration names; closed when it is disposed. */
export interface OpenCache extends AsyncDisposable {
  readonly services: Services;
  /** The same error, or a ConfigError instead if the fault is in the folder of the embedded stack. */
  explained(error: unknown): unknown;
}

/**
 * Opens the cache that the configuration names; without a bucket and a table, the embedded stack.
 *
 * @throws ConfigError; Error if the embedded stack cannot run here.
 */
export async function openCache(
  config: Config,
  output: Pick<Output, 'status'>,
  signal: AbortSignal,
): Promise<OpenCache> {
  output.status(`opening ${cacheName(config.store)}`);
  if (config.store.kind === 'aws') {
    await requireRegion();
    const services = openServices(config, config.store);
    return { services, explained: (error) => error, [Symbol.asyncDispose]: () => services.close() };
  }
  // The only import of infra by lib, with local.ts: the embedded stack does not run on AWS, and is loaded on use.
  const { openLocalStack } = await import('../../infra/local/connect.ts');
  const { homeTrouble } = await import('../../infra/local/home-trouble.ts');
  const { home } = config.store;
  const explained = (error: unknown): unknown => (signal.aborted ? error : (homeTrouble(home, error) ?? error));
  const stack = await openLocalStack(home, { signal }).catch((error: unknown) => {
    throw explained(error);
  });
  const { bucket, table, region, credentials } = stack;
  const services = openServices(config, {
    bucket,
    table,
    signingKeyFile: stack.signingKeyFile,
    s3: { endpoint: stack.s3Endpoint, region, credentials },
    dynamo: { endpoint: stack.dynamoEndpoint, region, credentials },
  });
  return {
    services,
    explained,
    [Symbol.asyncDispose]: async () => {
      await services.close();
      await stack.close();
    },
  };
}

/** Without this check the SDK would report a missing region only at the first request, as an error that looks temporary. */
async function requireRegion(): Promise<void> {
  const client = dynamoClient();
  try {
    if ((await client.config.region()) !== '') return;
  } catch (cause) {
    throw noRegion(cause);
  } finally {
    client.destroy();
  }
  throw noRegion();
}

const noRegion = (cause?: unknown): ConfigError =>
  new ConfigError(
    'ENTREPOT_BUCKET and ENTREPOT_TABLE are set, but no AWS region; set AWS_REGION, or AWS_PROFILE to a profile that has a region',
    cause,
  );
