import { fileURLToPath } from 'node:url';
import type { StackCredentials } from './local-stack.ts';

const MAIN = fileURLToPath(new URL('s3/main.ts', import.meta.url));

/** The command line that serves the S3 endpoint over the folder `root` on loopback. */
export function s3Command(port: number, root: string): readonly string[] {
  return [process.execPath, MAIN, '--root', root, '--port', String(port)];
}

/** Its keys: by environment, because command lines can be read by everyone on the machine. */
export function s3Environment(credentials: StackCredentials): NodeJS.ProcessEnv {
  return { ENTREPOT_LOCAL_S3_KEY: credentials.accessKeyId, ENTREPOT_LOCAL_S3_SECRET: credentials.secretAccessKey };
}
