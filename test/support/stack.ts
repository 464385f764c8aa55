import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { dynoxideCommand, servesMark, writeMark } from '../../infra/local/dynoxide.ts';
import {
  dynamoClientConfig,
  LOCAL_REGION,
  s3ClientConfig,
  stackAt,
  stackEnvironment,
  type LocalStack,
} from '../../infra/local/local-stack.ts';
import { prepareStack } from '../../infra/local/prepare.ts';
import { startS3 } from '../../infra/local/s3/server.ts';
import { freePort, startProcess, untilListening } from '../../infra/local/processes.ts';

const START_WITHIN_MS = 10_000;
const PORT_ATTEMPTS = 5;

export interface TestStack extends LocalStack {
  /** The temporary folder that holds everything; gone after `close`. */
  readonly root: string;
  readonly s3Config: S3ClientConfig;
  readonly dynamoConfig: DynamoDBClientConfig;
  /** For child processes of a test: endpoints, credentials, bucket, table. */
  readonly environment: Readonly<Record<string, string>>;
}

/** An S3 in this process and a DynamoDB in a child, in a temporary folder, with bucket and table ready. Without the supervisor. */
export async function startStack(): Promise<TestStack> {
  const root = await mkdtemp(join(tmpdir(), 'entrepot-stack-'));
  const credentials = { accessKeyId: 'AKIAENTREPOTTEST', secretAccessKey: 'entrepot-test-secret-access-key' };
  const [s3, dynamo] = await Promise.all([
    startS3({ root: join(root, 's3'), region: LOCAL_REGION, ...credentials }),
    startDynamo(join(root, 'mark.json')),
  ]);
  const endpoints = stackAt({ s3: s3.port, dynamodb: dynamo.port }, credentials, join(root, 'signing-key'));
  const stop = async (): Promise<void> => {
    await Promise.all([s3.close(), dynamo.stop()]);
    await rm(root, { recursive: true, force: true });
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= stop());
  try {
    await prepareStack(endpoints, AbortSignal.timeout(START_WITHIN_MS));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    ...endpoints,
    root,
    s3Config: s3ClientConfig(endpoints),
    dynamoConfig: dynamoClientConfig(endpoints),
    environment: stackEnvironment(endpoints),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** A DynamoDB in a child process, on a port of its own, in `file` or in memory. `schema` is a file for its mark. */
export async function startDynamo(schema: string, file?: string): Promise<{ port: number; stop: () => Promise<void> }> {
  const mark = `mark-${randomUUID()}`;
  writeMark(schema, mark);
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const server = startProcess([...dynoxideCommand(port, file), '--schema', schema], 'ignore');
    const killWithUs = (): void => void process.kill(server.pid, 'SIGKILL');
    process.once('exit', killWithUs);
    const stop = async (): Promise<void> => {
      process.off('exit', killWithUs);
      await server.stop();
    };
    try {
      await untilListening(port, server, START_WITHIN_MS);
      // Another test's server may have taken the port first.
      if (!(await servesMark(port, mark))) throw new Error(`port ${port} belongs to another process`);
      return { port, stop };
    } catch (error) {
      await stop();
      // Another process may have taken the free port meanwhile.
      if (attempt === PORT_ATTEMPTS) throw error;
    }
  }
}
