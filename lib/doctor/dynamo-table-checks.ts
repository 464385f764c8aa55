import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  BatchWriteItemCommand,
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
  GetItemCommand,
  QueryCommand,
  type TableDescription,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { dynamoClient } from '../table/dynamo-client.ts';
import { type Check, must, SkipError } from './check.ts';
import type { Target } from './target.ts';

const CLEANUP_MS = 20_000;
/** Rows of a killed run expire. */
const EXPIRES_SECONDS = 3600;

type Row = Record<string, AttributeValue>;
/** An update of one row of this run. */
export type RowUpdate = Omit<UpdateItemCommandInput, 'UpdateExpression'> & { readonly UpdateExpression: string };

/** The table, with a partition for the checks of this run, which is empty after disposal. */
export interface DynamoFixture extends AsyncDisposable {
  readonly client: DynamoDBClient;
  readonly table: string;
  /** Adds one to `n` of the row, under the condition if given. */
  increment(name: string, condition?: string): RowUpdate;
  update(update: RowUpdate, signal: AbortSignal): Promise<unknown>;
  /** `n` of the row; 0 if it does not exist. */
  count(name: string, signal: AbortSignal): Promise<number>;
}

export function openDynamoFixture({ deployment, region }: Target): DynamoFixture | SkipError {
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

const TTL_ATTRIBUTE = 'expiresSeconds';

async function describe({ client, table }: DynamoFixture, abortSignal: AbortSignal): Promise<TableDescription> {
  const { Table: description } = await client.send(new DescribeTableCommand({ TableName: table }), { abortSignal });
  must(description !== undefined, 'DescribeTable returned no table');
  return description;
}

/** What the table itself must be like, also one that existed before. */
export const DYNAMO_TABLE_CHECKS: readonly Check<DynamoFixture>[] = [
  {
    id: 'dynamo-table',
    claim: 'the table has the keys pk and sk, and is on demand',
    async run(fixture, signal) {
      const {
        KeySchema: keys = [],
        BillingModeSummary: billing,
        ProvisionedThroughput: provisioned,
      } = await describe(fixture, signal);
      const named = keys.map(({ AttributeName, KeyType }) => `${AttributeName ?? ''} ${KeyType ?? ''}`).join(', ');
      // Provisioned tables have units instead of a summary.
      const mode = billing?.BillingMode ?? `${provisioned?.ReadCapacityUnits ?? 0} units`;
      const seen = `${named}; ${mode}`;
      must(named === 'pk HASH, sk RANGE' && mode === 'PAY_PER_REQUEST', seen);
      return seen;
    },
  },
  {
    id: 'dynamo-ttl',
    claim: `rows expire by ${TTL_ATTRIBUTE}`,
    async run({ client, table }, signal) {
      const { TimeToLiveDescription: expiry } = await client.send(new DescribeTimeToLiveCommand({ TableName: table }), {
        abortSignal: signal,
      });
      const seen = `${expiry?.TimeToLiveStatus ?? 'no status'} ${expiry?.AttributeName ?? ''}`.trim();
      must(
        ['ENABLED', 'ENABLING'].includes(expiry?.TimeToLiveStatus ?? '') && expiry?.AttributeName === TTL_ATTRIBUTE,
        seen,
      );
      return seen;
    },
  },
  {
    id: 'dynamo-pitr',
    claim: 'point-in-time recovery is on',
    awsOnly: 'its DynamoDB keeps no backups',
    async run({ client, table }, signal) {
      const { ContinuousBackupsDescription: backups } = await client.send(
        new DescribeContinuousBackupsCommand({ TableName: table }),
        { abortSignal: signal },
      );
      const status = backups?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus ?? 'unknown';
      must(status === 'ENABLED', status);
      return status;
    },
  },
  {
    id: 'dynamo-deletion-protection',
    claim: 'the table is protected from deletion',
    awsOnly: 'its table is a file',
    async run(fixture, signal) {
      const { DeletionProtectionEnabled: isProtected } = await describe(fixture, signal);
      must(isProtected === true, 'deletion protection is off');
      return 'on';
    },
  },
];
