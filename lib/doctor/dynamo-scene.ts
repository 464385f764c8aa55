import {
  BatchWriteItemCommand,
  GetItemCommand,
  QueryCommand,
  UpdateItemCommand,
  type AttributeValue,
  type DynamoDBClient,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { randomUUID } from 'node:crypto';
import { dynamoClient } from '../table/dynamo-client.ts';
import { SkipError } from './check.ts';
import type { Target } from './target.ts';

const CLEANUP_MS = 20_000;
/** What a run that was killed leaves is expired by the table itself. */
const EXPIRES_SECONDS = 3600;

type Row = Record<string, AttributeValue>;
/** An update of one row of this run. */
export type RowUpdate = Omit<UpdateItemCommandInput, 'UpdateExpression'> & { readonly UpdateExpression: string };

/** The table, with a partition for the checks of this run, which is empty after disposal. */
export interface DynamoScene extends AsyncDisposable {
  readonly client: DynamoDBClient;
  readonly table: string;
  /** Adds one to `n` of the row, under the condition where there is one. */
  increment(name: string, condition?: string): RowUpdate;
  update(update: RowUpdate, signal: AbortSignal): Promise<unknown>;
  /** `n` of the row; 0 where it is not there. */
  count(name: string, signal: AbortSignal): Promise<number>;
}

export function openDynamoScene({ deployment, region }: Target): DynamoScene | SkipError {
  if (deployment instanceof SkipError) return deployment;
  const { table } = deployment;
  const client = dynamoClient({ region });
  const pk = { S: `DOCTOR#${randomUUID()}` };
  return {
    client,
    table,
    increment: (name, condition) => ({
      TableName: table,
      Key: { pk, sk: { S: name } },
      UpdateExpression: 'SET expiresSeconds = :expiresSeconds ADD n :one',
      ...(condition === undefined ? {} : { ConditionExpression: condition }),
      ExpressionAttributeValues: {
        ':one': { N: '1' },
        ':expiresSeconds': { N: String(Math.floor(Date.now() / 1000) + EXPIRES_SECONDS) },
      },
    }),
    update: (update, abortSignal) => client.send(new UpdateItemCommand(update), { abortSignal }),
    async count(name, abortSignal) {
      const command = new GetItemCommand({ TableName: table, Key: { pk, sk: { S: name } }, ConsistentRead: true });
      const { Item: row } = await client.send(command, { abortSignal });
      return Number(row?.n?.N ?? 0);
    },
    async [Symbol.asyncDispose]() {
      try {
        await cleanUp(client, table, pk);
      } finally {
        client.destroy();
      }
    },
  };
}

/** The checks write few rows: one page, one batch. */
async function cleanUp(client: DynamoDBClient, table: string, pk: AttributeValue): Promise<void> {
  const abortSignal = AbortSignal.timeout(CLEANUP_MS);
  const query = new QueryCommand({
    TableName: table,
    KeyConditionExpression: 'pk = :pk',
    ExpressionAttributeValues: { ':pk': pk },
    ProjectionExpression: 'pk, sk',
    ConsistentRead: true,
  });
  const { Items: rows = [] } = await client.send(query, { abortSignal });
  if (rows.length === 0) return;
  const RequestItems = { [table]: rows.map((Key: Row) => ({ DeleteRequest: { Key } })) };
  const { UnprocessedItems: left } = await client.send(new BatchWriteItemCommand({ RequestItems }), { abortSignal });
  if (Object.keys(left ?? {}).length > 0) throw new Error('rows are left; they expire within hours');
}
