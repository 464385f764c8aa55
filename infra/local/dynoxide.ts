import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/**
 * The DynamoDB of the embedded stack: the static binary of `@dynoxide/linux-x64`.
 *
 * @throws Error saying what to configure where the package does not exist for this machine.
 */
export function dynoxideBinary(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('@dynoxide/linux-x64/package.json')), 'dynoxide');
  } catch (cause) {
    throw new Error(
      `the embedded stack runs on linux-x64 only (this is ${process.platform}-${process.arch}), or its package @dynoxide/linux-x64 is not installed; ` +
        'set ENTREPOT_BUCKET and ENTREPOT_TABLE to a bucket and a table, and for a DynamoDB or S3 of your own AWS_ENDPOINT_URL_DYNAMODB and AWS_ENDPOINT_URL_S3',
      { cause },
    );
  }
}

/** The command line that serves the database in `file` on loopback. Streams stay off: they slow every write. */
export function dynoxideCommand(port: number, file: string): readonly [string, ...string[]] {
  return [dynoxideBinary(), 'serve', '--host', '127.0.0.1', '--port', String(port), '--db-path', file];
}
