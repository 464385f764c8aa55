import { loadRuntimeConfig } from '../config/compiled.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { openServices, type Services } from '../services.ts';

let opening: Promise<Services> | undefined;

/**
 * The services of this process: opened by the first event, kept for the life of the process. A wrong configuration is tried anew each time.
 *
 * @throws ConfigError
 */
export async function processServices(): Promise<Services> {
  opening ??= open();
  try {
    return await opening;
  } catch (error) {
    opening = undefined;
    throw error;
  }
}

async function open(): Promise<Services> {
  const config = await loadRuntimeConfig();
  if (config.store.kind !== 'aws') {
    throw new ConfigError('ENTREPOT_BUCKET and ENTREPOT_TABLE are not set: the function needs both');
  }
  return openServices(config, config.store);
}
