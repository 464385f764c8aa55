import { basename, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/config.ts';
import { prefixOf } from './mirror-config/mirror-config.ts';
import { allowOf } from '../registry/settings.ts';
import type { Reference } from '../reference/reference.ts';

const HUB_IMAGE = { repository: { registry: 'docker.io', path: 'library/alpine' }, tag: '3.20' };

/**
 * An image for the examples that a command prints: the first of `known` that the configuration lets be pulled, else one of a warm-up, else one that is known to be at
 * Docker Hub. Undefined where none can be named.
 */
export function exampleReference(config: Config, known: readonly Reference[] = []): Reference | undefined {
  const warmed = config.warmups.flatMap(({ entries }) =>
    entries.flatMap(({ what }) => (what.kind === 'reference' ? [what.reference] : [])),
  );
  return [...known, ...warmed, HUB_IMAGE].find((reference) => isAllowed(config, reference));
}

function isAllowed({ registries }: Config, { repository }: Reference): boolean {
  const registry = registries.get(repository.registry);
  return registry !== undefined && allowOf(registry)(repository.path);
}

/**
 * The line by which docker pulls through the cache at `host`; for a registry that has no name there, because it is an IPv6 address, a request that needs none, and what
 * to write so that it has one.
 */
export function pullHints(host: string, config: Config, example: Reference | undefined): readonly string[] {
  const [first] = config.registries.values();
  const registry = (example && config.registries.get(example.repository.registry)) ?? first;
  if (registry === undefined) return ['  (no registry is configured: docs/configuration.md)'];
  const path = example?.repository.path ?? 'REPOSITORY';
  const prefix = prefixOf(registry);
  if (prefix === undefined) {
    return [
      `  curl -s http://${host}/v2/${registry.name}/${path}/tags/list`,
      `  # docker pull has no name for ${registry.name} in a path, because it is an IPv6 address: give it an "alias" in the configuration`,
    ];
  }
  const { tag, digest } = example ?? { tag: 'TAG' };
  return [
    `  docker pull ${host}/${prefix}/${path}${digest === undefined ? `:${tag ?? 'latest'}` : `@${digest}`}`,
    `  # ${example === undefined ? 'REPOSITORY:TAG is yours to fill in; ' : ''}any registry of the configuration, by its name or alias`,
  ];
}

/** How this program is started from the folder where the user is. */
export function ownCommand(): string {
  const [, started = ''] = process.argv;
  if (basename(started) === 'entrepot') return 'entrepot';
  const launcher = relative(process.cwd(), fileURLToPath(new URL('entrepot.js', import.meta.url)));
  return `node ${/^[\w./-]+$/.test(launcher) ? launcher : `'${launcher.replaceAll("'", "'\\''")}'`}`;
}
