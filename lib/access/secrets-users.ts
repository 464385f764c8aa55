import { open } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { CacheError, ConfigError } from '../errors/cache-error.ts';
import { secretText } from './secrets-text.ts';
import { type KnownUsers, parseUsers, type Users, usersFrom } from './users.ts';

/** Five times what a thousand users need. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Users of a YAML or JSON file, which is read again every few minutes. */
export const fileUsers = (path: string): Users => usersFrom(async () => readUsers(path));

async function readUsers(path: string): Promise<KnownUsers> {
  const document = parseDocument(await readText(path), { logLevel: 'silent' });
  const [flaw] = document.errors;
  if (flaw !== undefined) {
    // Not its message, which may quote the file.
    const at = flaw.linePos?.[0];
    throw invalid(path, `${flaw.code}${at === undefined ? '' : `, line ${at.line}`}`);
  }
  let users: unknown;
  try {
    users = document.toJS({ maxAliasCount: 0 });
  } catch {
    throw invalid(path, 'aliases are not accepted');
  }
  return parseUsers(users, path);
}

const invalid = (path: string, why: string): ConfigError =>
  new ConfigError(`the users in ${path} are not valid YAML or JSON: ${why}`);

async function readText(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const stats = await file.stat();
    if (!stats.isFile() || stats.size > MAX_FILE_BYTES) {
      throw new ConfigError(`the users in ${path} cannot be read: write a file of at most ${MAX_FILE_BYTES} bytes`);
    }
    return await file.readFile('utf8');
  } catch (cause) {
    if (cause instanceof CacheError) throw cause;
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    throw new ConfigError(`the users in ${path} cannot be read: ${code}`, cause);
  }
}

/** Users of a secret of AWS Secrets Manager, a list in JSON, which is read again every few minutes. */
export function secretsUsers(secretId: string): Users {
  const read = secretText(secretId);
  const source = `secret ${secretId}`;
  return usersFrom(async (signal) => parseUsers(parseJson(await read(signal), source), source));
}

/** The error does not quote the text. */
function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError(`the users in ${source} are not JSON; write [{"name": "…", "password": "scrypt$…"}]`);
  }
}
