import type { ServedRegistry } from './mirror-config.ts';

/** One part of a repository's path: https://github.com/distribution/reference/blob/main/regexp.go */
const PATH_PART = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;

/**
 * The part of the path that names the registry: `CACHE/ghcr.io/org/app`. Undefined where there is none: a name with a port is no part of a path,
 * and only an alias helps.
 */
export function prefixOf({ name, alias }: ServedRegistry): string | undefined {
  return PATH_PART.test(name) ? name : alias;
}

/** An image of the registry, for examples. */
export const exampleImage = ({ name }: ServedRegistry): string =>
  name === 'docker.io' ? 'library/alpine:3.20' : 'team/app:v1';

/** Where clients find the registry without any configuration. */
export const isUsualEndpoint = ({ name, endpoint }: ServedRegistry): boolean =>
  endpoint.origin === (name === 'docker.io' ? 'https://registry-1.docker.io' : new URL(`https://${name}`).origin);
