import { ConfigError } from '../errors/cache-error.ts';
import { secretText } from './secrets-text.ts';
import { parseUsers, usersFrom, type Users } from './users.ts';

/** Users of a secret of AWS Secrets Manager, a list in JSON, which is read again every few minutes. */
export function secretsUsers(secretId: string): Users {
  const read = secretText(secretId);
  const source = `secret ${secretId}`;
  return usersFrom(async (signal) => parseUsers(parseJson(await read(signal), source), source));
}

/** Nothing of the text reaches the error. */
function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError(`the users in ${source} are no JSON; write [{"name": "…", "password": "scrypt$…"}]`);
  }
}
