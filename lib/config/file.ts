import { dirname } from 'node:path';
import { parseDocument, type YAMLError } from 'yaml';
import type { Problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';
import { fileSchema } from './schema.ts';
import { issuesOf } from './schema-parts.ts';

const MAX_FILE_BYTES = 1024 * 1024;

/** The unchecked sections of the file. */
export interface ConfigFile {
  /** Undefined if there is no file. */
  readonly path: string | undefined;
  /** What paths within the file are relative to. */
  readonly folder: string;
  /** By the names in the file. Undefined if the file has no such key. */
  readonly registries: Readonly<Record<string, unknown>> | undefined;
  readonly mirrors: unknown;
  readonly limits: unknown;
  readonly access: unknown;
  readonly warmups: unknown;
  readonly events: unknown;
  readonly serve: unknown;
}

/** A file to read. */
export interface WantedFile {
  readonly path: string;
  /** The variable that names it, or the path itself. */
  readonly problemsOf: string;
  /** False if it may be missing. */
  readonly isThere: boolean;
}

/** Reads the file; problems with the file as a whole go to `found`. */
export function readConfigFile({ path, problemsOf, isThere }: WantedFile, found: Problems): ConfigFile {
  const folder = dirname(path);
  const sections = {
    registries: undefined,
    mirrors: undefined,
    limits: undefined,
    access: undefined,
    warmups: undefined,
  };
  const nothing = { path: undefined, folder, ...sections, events: undefined, serve: undefined };
  let source: string;
  try {
    source = readTextFile(path, MAX_FILE_BYTES);
  } catch (error) {
    if (!(error instanceof UnreadableFileError)) throw error;
    if (error.absent && !isThere) return nothing;
    found.add(problemsOf, problemsOf === path ? error.message : `${path}: ${error.message}`);
    return nothing;
  }
  const document = parseYaml(source, found) ?? {};
  const outcome = fileSchema.safeParse(document);
  for (const issue of outcome.success ? [] : issuesOf(outcome.error, Object.keys(fileSchema.shape))) {
    found.add(issue.path, issue.message);
  }
  // Each section is checked even if another one is wrong, so that all problems are listed at once.
  const { registries, mirrors, limits, access, warmups, events, serve } = document as Partial<Record<string, unknown>>;
  // An empty key means no registry; the built-in list is for a file without the key.
  const named = registries === null ? {} : registries;
  const checked = { registries: isMap(named) ? named : undefined, mirrors, limits, access, warmups, events, serve };
  return { path, folder, ...checked };
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The document; undefined if there are syntax errors, which go to `found`. The parser bounds aliases. */
function parseYaml(source: string, found: Problems): unknown {
  const document = parseDocument(source, { prettyErrors: true });
  const flaws: readonly YAMLError[] = [...document.errors, ...document.warnings];
  for (const flaw of flaws) {
    const at = flaw.linePos?.[0];
    // Only the first line of the message: the others quote the source, which may hold a secret.
    const what = (flaw.message.split('\n')[0] ?? flaw.code).replace(/ at line \d+, column \d+:?$/, '');
    found.add(at === undefined ? 'YAML' : `line ${at.line}, column ${at.col}`, `not valid YAML: ${what}`);
  }
  if (flaws.length > 0) return undefined;
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    found.add('YAML', `cannot be expanded: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
