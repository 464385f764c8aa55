import { containerdConfig, dockerConfig, podmanConfig } from './clients.ts';
import type { ClientConfig, ServedCache } from './served-cache.ts';

/** The clients for which configurations are written; `podman` is also Buildah, skopeo and CRI-O. */
export const CLIENTS = ['containerd', 'docker', 'podman'] as const;
export type Client = (typeof CLIENTS)[number];

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
