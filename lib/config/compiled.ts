import { resolve } from 'node:path';
import { ConfigError } from '../errors/cache-error.ts';
import type { Config, Environment } from './config.ts';
import { dockerConfigPathOf, storeOf } from './environment.ts';
import { problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';

/** What a configuration says wherever it runs. Where it was read from, where the store is, and Docker's own file, is the environment's to say. */
export type CompiledConfig = Omit<Config, 'file' | 'store' | 'dockerConfigPath'>;

/** The first bytes of a compiled configuration tell it from YAML, of which JSON is a part. */
const MARK = '{"entrepotCompiledConfig":';
/** Grows whenever what an older text means would be misread. */
const VERSION = 1;
/** A thousand registries with their certificates need less. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Keys that mark what JSON has no form for. No key of the configuration begins like this. */
const MAP = '$map';
const SET = '$set';
const URL_KEY = '$url';

/**
 * The configuration as JSON that {@link readCompiledConfig} revives, checked and with its defaults filled in: the run time then loads neither the
 * YAML parser nor the schemas. The same configuration gives the same text.
 *
 * Total over everything that JSON, URLs, maps and sets can say: a field of any other kind is an error here, and never lost.
 */
export function compileConfig(config: Config): string {
  const { file: _file, store: _store, dockerConfigPath: _dockerConfigPath, ...compiled } = config;
  return `${MARK}${VERSION},"config":${JSON.stringify(encoded(compiled, 'config'))}}\n`;
}

/** Whether the text claims to be a compiled configuration, of whatever version. */
export const isCompiledConfig = (text: string): boolean => text.startsWith(MARK);

/**
 * The configuration that {@link compileConfig} wrote, frozen.
 *
 * @throws ConfigError if the text is not one, or of another version.
 */
export function readCompiledConfig(text: string): CompiledConfig {
  const document = parsed(text);
  if (document.entrepotCompiledConfig !== VERSION || document.config === undefined) {
    throw new ConfigError(
      `the compiled configuration is of version ${String(document.entrepotCompiledConfig)}, this program reads version ${VERSION}; package the application again`,
    );
  }
  return decoded(document.config) as CompiledConfig;
}

/**
 * The configuration of a function: `ENTREPOT_CONFIG` may name a compiled file, or YAML as for `loadConfig`, whose parsers are loaded only then.
 *
 * @throws ConfigError
 */
export async function loadRuntimeConfig(
  environment: Environment = process.env,
  cwd: string = process.cwd(),
): Promise<Config> {
  const variable = (name: string): string | undefined => (environment[name] === '' ? undefined : environment[name]);
  const named = variable('ENTREPOT_CONFIG');
  const file = named === undefined ? undefined : resolve(cwd, named);
  const text = file === undefined ? undefined : readIfCompiled(file);
  if (text === undefined) {
    const { loadConfig } = await import('./config.ts');
    return loadConfig(environment, cwd);
  }
  const found = problems();
  const store = storeOf(variable, cwd, variable('AWS_LAMBDA_FUNCTION_NAME') !== undefined, found);
  found.throwIfAny(undefined);
  const dockerConfigPath = dockerConfigPathOf(variable, cwd);
  return Object.freeze({ ...readCompiledConfig(text), file, store: Object.freeze(store), dockerConfigPath });
}

/** Undefined where the file is another one, or cannot be read: `loadConfig` says what is wrong with it. */
function readIfCompiled(path: string): string | undefined {
  try {
    const text = readTextFile(path, MAX_FILE_BYTES);
    return isCompiledConfig(text) ? text : undefined;
  } catch (error) {
    if (error instanceof UnreadableFileError) return undefined;
    throw error;
  }
}

function parsed(text: string): { readonly entrepotCompiledConfig?: unknown; readonly config?: unknown } {
  try {
    return isCompiledConfig(text) ? (JSON.parse(text) as object) : {};
  } catch (cause) {
    throw new ConfigError('the compiled configuration is not whole; package the application again', cause);
  }
}

function encoded(value: unknown, path: string): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item, index) => encoded(item, `${path}[${index}]`));
  if (value instanceof URL) return { [URL_KEY]: value.href };
  if (value instanceof Map) {
    return { [MAP]: [...value].map(([key, item]) => [encoded(key, path), encoded(item, `${path}.${String(key)}`)]) };
  }
  if (value instanceof Set) return { [SET]: [...value].map((item) => encoded(item, path)) };
  if (!isPlainObject(value)) {
    throw new ConfigError(`the configuration cannot be compiled: ${path} holds what JSON has no form for`);
  }
  const fields = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(fields.map(([key, item]) => [key, encoded(item, `${path}.${key}`)]));
}

const isPlainObject = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

function decoded(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map(decoded));
  const [[key, content] = [], ...others] = Object.entries(value);
  if (others.length === 0) {
    if (key === URL_KEY) return new URL(content as string);
    if (key === SET) return new Set((content as unknown[]).map(decoded));
    if (key === MAP) return new Map((content as [unknown, unknown][]).map(([k, item]) => [decoded(k), decoded(item)]));
  }
  return Object.freeze(Object.fromEntries(Object.entries(value).map(([name, item]) => [name, decoded(item)])));
}
