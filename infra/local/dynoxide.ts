import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readBounded } from './app/read-bounded.ts';
import { writePrivate, type Home } from './home.ts';

const KEEPER = fileURLToPath(new URL('keeper.ts', import.meta.url));
const ASK_WITHIN_MS = 1_000;
const MAX_ANSWER_BYTES = 64 * 1024;
/** Dynoxide requires a signature, but does not verify it. */
const LIST_TABLES = {
  'x-amz-target': 'DynamoDB_20120810.ListTables',
  'content-type': 'application/x-amz-json-1.0',
  authorization:
    'AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0',
  'x-amz-date': '20260101T000000Z',
};

/** The machine that a binary is searched for, and where. */
export interface HostMachine {
  readonly platform: string;
  readonly arch: string;
  /** The folders of programs, as in the variable PATH. */
  readonly path: string;
  /** The file of a package; throws where it is not installed. */
  readonly resolve: (file: string) => string;
}

const thisMachine = (): HostMachine => ({
  platform: process.platform,
  arch: process.arch,
  path: process.env.PATH ?? '',
  resolve: (file) => createRequire(import.meta.url).resolve(file),
});

/**
 * The DynamoDB of the embedded stack: dynoxide of the npm package for this machine, else the one on the PATH.
 *
 * @throws Error that names what to install, or which endpoint to set.
 */
export function dynoxideBinary(machine: HostMachine = thisMachine()): string {
  const { platform, arch, path, resolve } = machine;
  const packageName = `@dynoxide/${platform}-${arch}`;
  const file = platform === 'win32' ? 'dynoxide.exe' : 'dynoxide';
  try {
    return join(dirname(resolve(`${packageName}/package.json`)), file);
  } catch (cause) {
    const folders = path.split(delimiter).filter((folder) => folder !== '');
    const found = folders.map((folder) => join(folder, file)).find((candidate) => existsSync(candidate));
    if (found !== undefined) return found;
    throw new Error(
      `the embedded stack found no DynamoDB for ${platform}-${arch}: have npm ci install ${packageName}, put dynoxide on the PATH, ` +
        'or name the endpoint of another DynamoDB by AWS_ENDPOINT_URL_DYNAMODB',
      { cause },
    );
  }
}

/** The command line that serves the database in `file`, or in memory, on loopback. Streams stay off: they slow every write. */
export function dynoxideCommand(port: number, file?: string): readonly [string, ...string[]] {
  const kept = file === undefined ? [] : ['--db-path', file];
  return [dynoxideBinary(), 'serve', '--host', '127.0.0.1', '--port', String(port), ...kept];
}

/** The same for the home, run by keeper.ts, which ends it when this process ends. The table with the home's mark exists before it listens. */
export function keptDynoxideCommand(port: number, home: Home): readonly string[] {
  return [process.execPath, KEEPER, ...dynoxideCommand(port, home.dynamoFile), '--schema', home.dynamoMark];
}

/** Writes the file for `--schema`, from which dynoxide makes the table with the mark. */
export function writeMark(file: string, mark: string): void {
  const table = {
    TableName: mark,
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
  };
  writePrivate(file, [{ Table: table }]);
}

/** Whether the DynamoDB on the loopback port serves the database with the mark. It only lists tables, because the port may belong to another program. */
export async function servesMark(port: number, mark: string): Promise<boolean> {
  const asking = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    headers: LIST_TABLES,
    agent: false,
    signal: AbortSignal.timeout(ASK_WITHIN_MS),
  });
  try {
    const answered = once(asking.end('{}'), 'response') as Promise<[IncomingMessage]>;
    const [response] = await answered;
    const { TableNames: names } = JSON.parse((await readBounded(response, MAX_ANSWER_BYTES)).toString('utf8')) as {
      TableNames?: unknown;
    };
    return Array.isArray(names) && names.includes(mark);
  } catch {
    return false; // No answer, not HTTP, not JSON, too long or too slow: not ours as far as we know.
  } finally {
    asking.destroy();
  }
}
