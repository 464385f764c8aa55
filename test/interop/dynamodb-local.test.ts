import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CreateTableCommand, DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { startDynamoDbLocal } from './dynamodb-local.ts';

test('DynamoDB Local installs, starts empty, and ends', { timeout: 300_000 }, async () => {
  const server = await startDynamoDbLocal();
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new DynamoDBClient({ endpoint: server.endpoint, region: 'us-east-1', credentials, maxAttempts: 1 });
  try {
    assert.deepEqual((await client.send(new ListTablesCommand({}))).TableNames, []);
    await client.send(
      new CreateTableCommand({
        TableName: 'probe',
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
      }),
    );
    assert.deepEqual((await client.send(new ListTablesCommand({}))).TableNames, ['probe']);
    await server.close();
    await assert.rejects(client.send(new ListTablesCommand({})));
  } finally {
    client.destroy();
    await server.close();
  }
});
