import { type Config, loadConfig } from '../config/config.ts';
import type { StoreLocation } from '../config/environment.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { openServices, type Services } from '../services.ts';
import { dynamoClient } from '../table/dynamo-client.ts';
import type { Output } from './output.ts';

/**
 * The configuration of this environment and folder. With `--verbose` says which it is, and which cache it names.
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

/** Whoever writes a password into a URL does not want to read it in a log. */
const withoutUser = (url: string): string => url.replace(/\/\/[^/@]*@/, '//');

/** The cache that the configuration names, for as long as it is held. */
export interface OpenCache extends AsyncDisposable {
  readonly services: Services;
  /** The failure, or a ConfigError in its place where what is wrong is the folder of the embedded stack. */
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
  // The one way from lib to infra: the embedded stack is no part of what runs on AWS, and is loaded only where it is used.
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

/** The SDK looks for its region with the first request, and then it would pass for a fault that a later attempt may not meet. */
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
