import { resolve } from 'node:path';
import { ConfigError } from '../errors/cache-error.ts';
import type { RegistrySettings } from '../registry/settings.ts';
import type { Config, Environment } from './config.ts';
import { dockerConfigPathOf, storeOf } from './environment.ts';
import { problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';

/** The part of a configuration that is the same wherever it runs. The file, the store and Docker's own file come from the environment. */
export type CompiledConfig = Omit<Config, 'file' | 'store' | 'dockerConfigPath'>;

/** The shape of `T` in JSON: URLs are texts, maps are objects. A field of a kind that JSON does not have fails the type check in {@link revived}. */
type Json<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends URL
    ? string
    : T extends readonly (infer Item)[]
      ? readonly Json<Item>[]
      : T extends ReadonlyMap<string, infer Value>
        ? Readonly<Record<string, Json<Value>>>
        : { readonly [K in keyof T]: Json<T[K]> };

/** The first bytes of a compiled configuration. YAML, of which JSON is a part, does not begin like this. */
const MARK = '{"entrepotCompiledConfig":';
/** Raised when this program would misread an older text. */
const VERSION = 2;
/** A thousand registries with their certificates need less. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

/**
 * The configuration as plain JSON of the same shape, checked and with its defaults filled in: functions then load neither the YAML parser nor the
 * schemas. The same configuration gives the same text.
 */
export function compileConfig(config: Config): string {
  const { file: _file, store: _store, dockerConfigPath: _dockerConfigPath, registries, ...sections } = config;
  const document = { ...sections, registries: Object.fromEntries(registries) };
  return `${MARK}${VERSION},"config":${JSON.stringify(document)}}\n`;
}

/** Whether the text begins as a compiled configuration, of any version. */
export const isCompiledConfig = (text: string): boolean => text.startsWith(MARK);

/**
 * The configuration that {@link compileConfig} wrote, frozen.
 *
 * @throws ConfigError if the text is not one, or of another version.
 */
export function readCompiledConfig(text: string): CompiledConfig {
  const { entrepotCompiledConfig: version, config } = parsed(text);
  if (version !== VERSION || config === undefined) {
    throw new ConfigError(
      `the compiled configuration is of version ${String(version)}, this program reads version ${VERSION}; package the application again`,
    );
  }
  return revived(config);
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

/** Undefined if the file is not compiled, or cannot be read: then `loadConfig` reports what is wrong with it. */
function readIfCompiled(path: string): string | undefined {
  try {
    const text = readTextFile(path, MAX_FILE_BYTES);
    return isCompiledConfig(text) ? text : undefined;
  } catch (error) {
    if (error instanceof UnreadableFileError) return undefined;
    throw error;
  }
}

interface CompiledDocument {
  readonly entrepotCompiledConfig?: unknown;
  readonly config?: Json<CompiledConfig>;
}

/** Frozen all the way down. */
function parsed(text: string): CompiledDocument {
  try {
    return isCompiledConfig(text)
      ? (JSON.parse(text, (_key, value: unknown) => Object.freeze(value)) as CompiledDocument)
      : {};
  } catch (cause) {
    throw new ConfigError('the compiled configuration is truncated; package the application again', cause);
  }
}

function revived({ registries, serve, ...sections }: Json<CompiledConfig>): CompiledConfig {
  const { blobEndpoint, ...serveSettings } = serve;
  return Object.freeze({
    ...sections,
    registries: new Map(Object.entries(registries).map(([name, registry]) => [name, revivedRegistry(registry)])),
    serve: Object.freeze({
      ...serveSettings,
      ...(blobEndpoint === undefined ? {} : { blobEndpoint: new URL(blobEndpoint) }),
    }),
  });
}

function revivedRegistry({ endpoint, mirrors, proxy, ...settings }: Json<RegistrySettings>): RegistrySettings {
  return Object.freeze({
    ...settings,
    endpoint: new URL(endpoint),
    mirrors: Object.freeze(mirrors.map((mirror) => new URL(mirror))),
    ...(proxy === undefined ? {} : { proxy: new URL(proxy) }),
  });
}
