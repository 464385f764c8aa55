import { UnknownNameError } from '../errors/cache-error.ts';
import { globs } from '../reference/globs.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import type { RegistrySettings } from './settings.ts';

/** Whether the rules of the registry allow the repository, by its path. */
export function allowOf({ allow }: Pick<RegistrySettings, 'allow'>): (path: string) => boolean {
  return allow.length === 0 ? () => true : globs(allow);
}

/**
 * Gives the settings of a repository's registry, if it is configured and allows that repository. Sends no request.
 *
 * The rule throws UnknownNameError otherwise, saying what to write into the configuration.
 */
export function allowRule(
  registries: ReadonlyMap<string, RegistrySettings>,
): (repository: Repository) => RegistrySettings {
  const allowed = new Map<string, (path: string) => boolean>();
  return (repository) => {
    const settings = registries.get(repository.registry);
    if (settings === undefined) throw unknownRegistry(repository, registries);
    const allows = allowed.get(settings.name) ?? allowOf(settings);
    allowed.set(settings.name, allows);
    if (allows(repository.path)) return settings;
    throw new UnknownNameError(
      `repository ${formatRepository(repository)} is not allowed: it matches none of ${JSON.stringify(settings.allow)}, the "allow" of registry ${repository.registry}`,
    );
  };
}

function unknownRegistry(repository: Repository, registries: ReadonlyMap<string, RegistrySettings>): UnknownNameError {
  const known = [...registries.keys()].join(', ');
  return new UnknownNameError(
    `registry ${repository.registry} is not configured (configured: ${known === '' ? 'none' : known}); to pull ${formatRepository(repository)}, write ${JSON.stringify(repository.registry)}, and every other registry you want, under "registries" of the configuration file: it replaces the built-in list`,
  );
}
