import type { DynamoEndpoint } from '../support/table-under-test.ts';
import { startDynamoDbLocal } from './dynamodb-local.ts';

/** DynamoDB Local as the suites take it. */
export async function startRealDynamo(): Promise<DynamoEndpoint> {
  const server = await startDynamoDbLocal();
  const keys = { accessKeyId: 'local', secretAccessKey: 'local' };
  return { endpoint: server.endpoint, region: 'us-east-1', ...keys, close: () => server.close() };
}
