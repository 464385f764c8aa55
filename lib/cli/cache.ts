import { dynamoClient } from '../table/dynamo-client.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { cacheName } from './configured.ts';
import type { Output } from './output.ts';
import { openServices, type Services } from '../services.ts';

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
