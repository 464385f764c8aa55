import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { type Config, loadConfig } from '../../lib/config/config.ts';
import { DEFAULT_CONFIG_FILES } from '../../lib/config/defaults.ts';
import { ConfigError } from '../../lib/errors/cache-error.ts';
import { PARAMETERS, stackSettings, type StackSettings } from '../settings.ts';

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
      `${error.message}\nThe registries of the deployment are in ${file}; entrepot.example.yaml is an example, docs/configuration.md explains each key.`,
      error,
    );
  }
}

/**
 * The settings that osls will find: from `--param`, then the section `params` of serverless.yml for the stage, then that for all stages.
 *
 * @throws ConfigError that lists every wrong parameter.
 */
export async function chosenSettings(options: {
  readonly folder: string;
  readonly stage: string;
  readonly parameters: readonly string[];
}): Promise<StackSettings> {
  const { folder, stage, parameters } = options;
  const document = parse(await readFile(join(folder, 'serverless.yml'), 'utf8')) as {
    readonly params?: Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;
  };
  const given = Object.fromEntries(parameters.map(nameAndValue));
  const chosen = { ...document.params?.default, ...document.params?.[stage], ...given };
  const known: readonly string[] = PARAMETERS;
  const unknown = Object.keys(chosen).filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new ConfigError(`there is no parameter ${unknown.join(', ')}; the known ones are ${PARAMETERS.join(', ')}`);
  }
  return stackSettings(stage, chosen);
}

function nameAndValue(parameter: string): [string, string] {
  const at = parameter.indexOf('=');
  if (at > 0) return [parameter.slice(0, at), parameter.slice(at + 1)];
  throw new ConfigError(`--param ${JSON.stringify(parameter)}: write name=value`);
}
