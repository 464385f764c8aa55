import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { install, INTEROP_FOLDER, oneAtATime } from './install.ts';
import { startServer } from './server-process.ts';

/** The last release that runs on Java 17, and the last there is as this is written. */
const VERSION = '2.6.1';

/** A running DynamoDB Local, empty and in memory. Any credentials and any region do; each pair of them is a database of its own. */
export interface DynamoDbLocal extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly endpoint: string;
  /** Ends it, and with it everything that it held. Idempotent. */
  close(): Promise<void>;
}

/**
 * AWS's own DynamoDB Local, installed into `folder` by Maven where it is not there yet.
 *
 * @throws Error when it cannot be installed or does not start.
 */
export async function startDynamoDbLocal(folder = join(INTEROP_FOLDER, 'dynamodb-local')): Promise<DynamoDbLocal> {
  await installDynamoDbLocal(folder);
  const jars = join(folder, VERSION);
  const main = 'com.amazonaws.services.dynamodbv2.local.main.ServerRunner';
  // It listens on every address and has no option against it.
  const server = await startServer((port) => [
    ...['java', `-Djava.library.path=${jars}`, '-cp', join(jars, '*'), main],
    ...['-inMemory', '-disableTelemetry', '-port', String(port)],
  ]);
  return { endpoint: `http://127.0.0.1:${server.port}`, close: server.close, [Symbol.asyncDispose]: server.close };
}

/** The jars and the native SQLite library are in `folder` when this returns. */
async function installDynamoDbLocal(folder: string): Promise<void> {
  await install('java', 'mvn');
  mkdirSync(folder, { recursive: true });
  const pom = join(folder, 'pom.xml');
  writeFileSync(pom, POM);
  // The rename comes last, so that a folder that is there is whole.
  const script = `[ -d "$1/$2" ] || {
    rm -rf "$1/incoming" &&
    mvn -q -B -f "$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1/incoming" &&
    mv "$1/incoming" "$1/$2"
  }`;
  await oneAtATime(script, [folder, VERSION]);
}

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>entrepot.interop</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>${VERSION}</version>
    </dependency>
  </dependencies>
</project>
`;
