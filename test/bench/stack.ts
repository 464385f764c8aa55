import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dynamoClientConfig, s3ClientConfig, stackAt, stackEnvironment } from '../../infra/local/local-stack.ts';
import { prepareStack } from '../../infra/local/prepare.ts';
import { freePort, startProcess, untilListening } from '../../infra/local/processes.ts';
import { s3Command, s3Environment } from '../../infra/local/s3-process.ts';
import { startDynamo, type TestStack } from '../support/stack.ts';

const START_WITHIN_MS = 10_000;

/** As `startStack` of the tests, but with S3 in a process of its own too: what it costs is not the bench's own process's. */
export async function startSeparateStack(signal: AbortSignal): Promise<TestStack> {
  const resources = new AsyncDisposableStack();
  const close = (): Promise<void> => resources.disposeAsync();
  try {
    const root = await mkdtemp(join(tmpdir(), 'entrepot-bench-'));
    resources.defer(() => rm(root, { recursive: true, force: true }));
    const credentials = { accessKeyId: 'AKIAENTREPOTBENCH', secretAccessKey: randomUUID() };
    const port = await freePort();
    const s3 = startProcess(s3Command(port, join(root, 's3')), 'ignore', s3Environment(credentials));
    const killWithUs = (): void => void process.kill(s3.pid, 'SIGKILL');
    process.once('exit', killWithUs);
    resources.defer(async () => {
      process.off('exit', killWithUs);
      await s3.stop();
    });
    await untilListening(port, s3, START_WITHIN_MS);
    const dynamo = await startDynamo(join(root, 'mark.json'), join(root, 'dynamodb.sqlite'));
    resources.defer(() => dynamo.stop());
    const endpoints = stackAt({ s3: port, dynamodb: dynamo.port }, credentials, join(root, 'signing-key'));
    await prepareStack(endpoints, AbortSignal.any([signal, AbortSignal.timeout(START_WITHIN_MS)]));
    return {
      ...endpoints,
      root,
      s3Config: s3ClientConfig(endpoints),
      dynamoConfig: dynamoClientConfig(endpoints),
      environment: stackEnvironment(endpoints),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
