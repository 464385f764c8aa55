import type { RegistrySettings } from '../registry/settings.ts';
import type { Client } from './clients.ts';
import { containerdConfig } from './containerd.ts';
import { dockerConfig } from './docker.ts';
import { podmanConfig } from './podman.ts';

/** What a registry is for its clients. */
export type ServedRegistry = Pick<RegistrySettings, 'name' | 'alias' | 'endpoint'>;

/** The cache, as its clients see it. */
export interface ServedCache {
  /** Scheme, host and port: see `parseCacheOrigin`. */
  readonly origin: URL;
  /** In the order of the configuration. */
  readonly registries: readonly ServedRegistry[];
  /** Whether callers must sign in. */
  readonly needsLogin: boolean;
}

/** One file of a client's configuration. */
export interface ConfigFile {
  /** Relative, with `/`: where it goes below a folder of its own. */
  readonly path: string;
  /** Absolute: where the client on Linux looks for it. */
  readonly place: string;
  /** Lines for a file that may exist already, not a whole file. */
  readonly isFragment: boolean;
  /** Ends with a new line. */
  readonly content: string;
}

/** Everything that makes one client use the cache. */
export interface ClientConfig {
  /** May be empty: where nothing that could be configured would help. */
  readonly files: readonly ConfigFile[];
  /** What files cannot say: a sentence each. */
  readonly notes: readonly string[];
}

/** The configuration that makes `client` pull from the cache first, and from the registries themselves when it is down. Pure. */
export function mirrorConfig(client: Client, cache: ServedCache): ClientConfig {
  switch (client) {
    case 'containerd':
      return containerdConfig(cache);
    case 'docker':
      return dockerConfig(cache);
    case 'podman':
      return podmanConfig(cache);
  }
}
