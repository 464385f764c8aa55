import { pathPartOf } from '../reference/reference.ts';
import type { ServedRegistry } from './mirror-config.ts';

/**
 * The part of the path that names the registry: `CACHE/ghcr.io/org/app`; where the name has a port the alias, or `CACHE/localhost_5001/org/app`. Undefined for an IPv6
 * address without an alias.
 */
export function prefixOf({ name, alias }: ServedRegistry): string | undefined {
  const part = pathPartOf(name);
  return part === name ? name : (alias ?? part);
}

/** An image of the registry, for examples. */
export const exampleImage = ({ name }: ServedRegistry): string =>
  name === 'docker.io' ? 'library/alpine:3.20' : 'team/app:v1';

/** Where clients find the registry without any configuration. */
export const isUsualEndpoint = ({ name, endpoint }: ServedRegistry): boolean =>
  endpoint.origin === (name === 'docker.io' ? 'https://registry-1.docker.io' : new URL(`https://${name}`).origin);
