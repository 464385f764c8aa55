import { randomBytes } from 'node:crypto';
import { link, mkdir, open, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ConfigError } from '../errors/cache-error.ts';
import { secretText } from './secrets-text.ts';
import { derivedSigningKey, type SigningKey } from './signing-key.ts';

const SECRET_BYTES = 32;
const MAX_FILE_BYTES = 4096;

/** The key of this machine, from a file that only its owner can read, created at the first use. All processes use the same key, whichever creates it. */
export const localSigningKey = (file: string): SigningKey => derivedSigningKey(file, () => readOrMake(file));

async function readOrMake(file: string): Promise<string> {
  try {
    return (await readSecret(file)) ?? (await make(file)) ?? (await readSecret(file)) ?? '';
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    throw new ConfigError(`the signing key ${file} can be neither read nor made: ${code}`, cause);
  }
}

async function readSecret(file: string): Promise<string | undefined> {
  try {
    await using opened = await open(file, 'r');
    const { mode, size } = await opened.stat();
    // Windows has no such bits: there the folder's permissions apply.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new ConfigError(`the signing key ${file} is open to others than its owner; chmod 600 it, or delete it`);
    }
    if (size > MAX_FILE_BYTES) throw new ConfigError(`the signing key ${file} is longer than ${MAX_FILE_BYTES} bytes`);
    return await opened.readFile('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Creates the file atomically, by a link to a complete file. Undefined where another process was first. */
async function make(file: string): Promise<string | undefined> {
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(draft, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  try {
    await link(draft, file);
    return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  } finally {
    await unlink(draft);
  }
}

/** The key of a deployment, from the text of a secret of AWS Secrets Manager, which is read by the first use and again every few minutes. */
export const secretsSigningKey = (secretId: string): SigningKey =>
  derivedSigningKey(`secret ${secretId}`, secretText(secretId));
