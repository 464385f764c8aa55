import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDynamo } from './stack.ts';
import type { DynamoEndpoint } from './table-under-test.ts';

/** The embedded DynamoDB alone, in memory. */
export async function startEmbeddedDynamo(): Promise<DynamoEndpoint> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-dynamo-'));
  const server = await startDynamo(join(folder, 'mark.json'));
  return {
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    accessKeyId: 'AKIAENTREPOTTEST',
    secretAccessKey: 'entrepot-test-secret-access-key',
    close: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
