import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ConfigError } from '../../lib/errors/cache-error.ts';
import { PARAMETERS, stackSettings, type StackSettings } from '../settings.ts';

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
