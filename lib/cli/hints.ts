import { basename, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/config.ts';
import { prefixOf } from './mirror-config/served-cache.ts';
import { allowOf } from '../registry/settings.ts';
import type { Reference } from '../reference/reference.ts';

const HUB_IMAGE = { repository: { registry: 'docker.io', path: 'library/alpine' }, tag: '3.20' };

/**
 * An image for the examples that a command prints: the first of `known` that the configuration allows, else one of a warm-up, else a well-known one of Docker Hub.
 * Undefined if none of them is allowed.
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
 * The `docker pull` command for the cache at `host`. A registry at an IPv6 address has no name in such a command: then a curl command, and how to add an alias.
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
      `  # docker pull cannot name ${registry.name}, because it is an IPv6 address: give it an "alias" in the configuration`,
    ];
  }
  const { tag, digest } = example ?? { tag: 'TAG' };
  return [
    `  docker pull ${host}/${prefix}/${path}${digest === undefined ? `:${tag ?? 'latest'}` : `@${digest}`}`,
    `  # ${example === undefined ? 'fill in REPOSITORY:TAG; ' : ''}other registries of the configuration: by name or alias`,
  ];
}

/** The command that starts this program from the current folder. */
export function ownCommand(): string {
  const [, started = ''] = process.argv;
  if (basename(started) === 'entrepot') return 'entrepot';
  const launcher = relative(process.cwd(), fileURLToPath(new URL('entrepot.js', import.meta.url)));
  return `node ${/^[\w./-]+$/.test(launcher) ? launcher : `'${launcher.replaceAll("'", "'\\''")}'`}`;
}
