import { loadConfig, type Config } from '../config/config.ts';
import type { StoreLocation } from '../config/environment.ts';
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
