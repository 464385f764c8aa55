import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadConfig, type Config } from '../../lib/config/config.ts';
import { DEFAULT_CONFIG_FILES } from '../../lib/config/defaults.ts';
import { ConfigError } from '../../lib/errors/cache-error.ts';

/**
 * The configuration as it will run on AWS: from the file `named`, or `entrepot.yaml` (`entrepot.yml`) in the folder. Nothing else of the environment counts.
 *
 * @throws ConfigError that lists every problem, the file to write, and an example.
 */
export function packageConfig(folder: string, named: string | undefined): Config {
  try {
    return loadConfig({ ENTREPOT_CONFIG: named }, folder, { target: 'aws' });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const usual = DEFAULT_CONFIG_FILES.map((name) => resolve(folder, name));
    const own = usual.find((path) => existsSync(path)) ?? resolve(folder, DEFAULT_CONFIG_FILES[0]);
    const file = named === undefined || named === '' ? own : resolve(folder, named);
    throw new ConfigError(
      `${error.message}\nThe registries of the deployment are in ${file}; entrepot.example.yaml is an example, docs/configuration.md says what each key means.`,
      error,
    );
  }
}
