import {
  CreateTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  ResourceInUseException,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { BucketAlreadyOwnedByYou, CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { tableDefinition, timeToLive } from '../table.ts';
import { dynamoClientConfig, s3ClientConfig, type StackEndpoints } from './local-stack.ts';

/** Makes bucket and table if they do not exist. */
export async function prepareStack(stack: StackEndpoints, signal: AbortSignal): Promise<void> {
  await Promise.all([ensureBucket(stack, signal), ensureTable(stack, signal)]);
}

async function ensureBucket(stack: StackEndpoints, abortSignal: AbortSignal): Promise<void> {
  const s3 = new S3Client(s3ClientConfig(stack));
  try {
    await s3.send(new CreateBucketCommand({ Bucket: stack.bucket }), { abortSignal });
  } catch (error) {
    if (!(error instanceof BucketAlreadyOwnedByYou)) throw error;
  } finally {
    s3.destroy();
  }
}

async function ensureTable(stack: StackEndpoints, abortSignal: AbortSignal): Promise<void> {
  const dynamo = new DynamoDBClient(dynamoClientConfig(stack));
  try {
    await dynamo.send(new CreateTableCommand(tableDefinition(stack.table)), { abortSignal }).catch(unlessThere);
    const expiry = await dynamo.send(new DescribeTimeToLiveCommand({ TableName: stack.table }), { abortSignal });
    if (expiry.TimeToLiveDescription?.TimeToLiveStatus === 'ENABLED') return;
    await dynamo.send(new UpdateTimeToLiveCommand(timeToLive(stack.table)), { abortSignal });
  } finally {
    dynamo.destroy();
  }
}

function unlessThere(error: unknown): void {
  if (!(error instanceof ResourceInUseException)) throw error;
}
