import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import { ConfigError, InvalidRequestError } from '../errors/cache-error.ts';
import { type Client, mirrorConfig } from './mirror-config/mirror-config.ts';
import { type ClientConfig, type ClientFile, parseCacheOrigin } from './mirror-config/served-cache.ts';
import { configured } from './cache.ts';
import { EXIT, printable, type ExitCode, type Output } from './output.ts';

export interface MirrorConfigOptions {
  readonly url: string;
  /** A folder to write into; without it the files are printed. */
  readonly output?: string;
  /** Replaces files in the folder that differ. */
  readonly force: boolean;
}

/** Prints, or writes into a folder, the configuration that makes the client pull from the cache. */
export async function runMirrorConfig(client: Client, options: MirrorConfigOptions, output: Output): Promise<ExitCode> {
  const origin = parseCacheOrigin(options.url);
  if (options.force && options.output === undefined) {
    throw new InvalidRequestError('--force', '--force needs --output: it replaces files in that folder');
  }
  const config = configured(output);
  const made = mirrorConfig(client, {
    origin,
    registries: [...config.registries.values()],
    needsLogin: needsLogin(config),
  });
  const { files, notes } = made;
  const document = { client, url: origin.origin, files, notes };
  if (options.output === undefined) {
    output.result(document, printedLines(made));
  } else {
    const folder = resolve(options.output);
    const written = await writeFiles(folder, files, options.force);
    output.result({ ...document, folder, written }, [
      ...files.map(({ path, place, isFragment }) => printable(`${join(folder, path)}: ${verb(isFragment)} ${place}`)),
    ]);
  }
  for (const note of notes) output.note(printable(note));
  return EXIT.done;
}

const needsLogin = ({ serve }: Config): boolean => serve.auth.kind === 'basic';

const verb = (isFragment: boolean): string => (isFragment ? 'merge into' : 'goes to');

/** Each file below a line that says where it goes. */
function printedLines({ files }: ClientConfig): string[] {
  return files.flatMap(({ place, isFragment, content }, index) => [
    ...(index === 0 ? [] : ['']),
    printable(`# ===> ${place}${isFragment ? ' (merge into it)' : ''}`),
    printable(content.trimEnd()),
  ]);
}

/**
 * Writes all files, or none if one of them would be replaced without `force`. Returns the paths of those that were written.
 *
 * @throws InvalidRequestError if a file exists with other content; ConfigError if the folder cannot be written.
 */
async function writeFiles(folder: string, files: readonly ClientFile[], force: boolean): Promise<string[]> {
  try {
    const present = await Promise.all(files.map(({ path }) => readIfThere(join(folder, path))));
    const differing = files.filter(({ content }, index) => present[index] !== undefined && present[index] !== content);
    if (differing.length > 0 && !force) {
      const names = differing.map(({ path }) => path).join(', ');
      throw new InvalidRequestError(
        '--output',
        `--output ${folder} has these files already, and they differ: ${names}; choose another folder, or replace them with --force`,
      );
    }
    const missing = files.filter(({ content }, index) => present[index] !== content);
    for (const { path, content } of missing) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    return missing.map(({ path }) => path);
  } catch (cause) {
    if (cause instanceof InvalidRequestError) throw cause;
    throw new ConfigError(`--output ${folder} cannot be written`, cause);
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
