import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CacheError, ConfigError } from '../../lib/errors/cache-error.ts';

/** Below this the disk counts as full: the table, its journal and the logs grow, too. */
const LEAST_FREE_BYTES = 16 * 1024 * 1024;
const MAX_CAUSES = 8;

const WHY: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'the quota of this user is used up; free some space',
  EACCES: 'this user may not write there; grant write permission',
  EPERM: 'this user may not write there; grant write permission',
  EROFS: 'the file system is read-only; make it writable',
  ENOTDIR: 'a part of the path is a file; remove it',
};

/**
 * The problem with the folder of an embedded stack that explains `error`: no space, no permission, a read-only file system. Undefined if the folder
 * is fine, or the error comes from the caller or a registry.
 */
export function homeTrouble(home: string, error: unknown): ConfigError | undefined {
  if (error instanceof CacheError && (error.origin === 'client' || error.origin === 'upstream')) return undefined;
  const code = codeIn(error, home) ?? codeOf(home);
  if (code === undefined) return undefined;
  return new ConfigError(
    `the embedded stack cannot keep its state in ${home}: ${WHY[code] ?? ''}, or set ENTREPOT_HOME to another folder (${code})`,
    error,
  );
}

/** The code in the error itself: of a file of the home, or of an answer of its S3. */
function codeIn(error: unknown, home: string): string | undefined {
  let cause = error;
  for (let depth = 0; cause instanceof Error && depth < MAX_CAUSES; depth += 1) {
    if (cause.name === 'InsufficientStorage') return 'ENOSPC';
    const { code = '', path = '' } = cause as NodeJS.ErrnoException;
    if (path.startsWith(home) && code in WHY) return code;
    cause = cause.cause;
  }
  return undefined;
}

/** The code found by checking the folder, or its nearest parent that exists. */
function codeOf(home: string): string | undefined {
  let folder = home;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    if (!statSync(folder).isDirectory()) return 'ENOTDIR';
    accessSync(folder, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize < LEAST_FREE_BYTES ? 'ENOSPC' : undefined;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return code in WHY ? code : undefined;
  }
}
