import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type TableDescription,
} from '@aws-sdk/client-dynamodb';
import { must, type Check } from './check.ts';
import type { DynamoScene } from './dynamo-scene.ts';

const TTL_ATTRIBUTE = 'expiresSeconds';

async function describe({ client, table }: DynamoScene, abortSignal: AbortSignal): Promise<TableDescription> {
  const { Table: description } = await client.send(new DescribeTableCommand({ TableName: table }), { abortSignal });
  must(description !== undefined, 'DescribeTable told nothing of the table');
  return description;
}

/** What the table itself must be like, ours or one that was there before. */
export const DYNAMO_TABLE_CHECKS: readonly Check<DynamoScene>[] = [
  {
    id: 'dynamo-table',
    claim: 'the table has the keys pk and sk, and is on demand',
    async run(scene, signal) {
      const {
        KeySchema: keys = [],
        BillingModeSummary: billing,
        ProvisionedThroughput: provisioned,
      } = await describe(scene, signal);
      const named = keys.map(({ AttributeName, KeyType }) => `${AttributeName ?? ''} ${KeyType ?? ''}`).join(', ');
      // Provisioned tables have no summary, and units instead.
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
      const { TimeToLiveDescription: told } = await client.send(new DescribeTimeToLiveCommand({ TableName: table }), {
        abortSignal: signal,
      });
      const seen = `${told?.TimeToLiveStatus ?? 'no status'} ${told?.AttributeName ?? ''}`.trim();
      must(
        ['ENABLED', 'ENABLING'].includes(told?.TimeToLiveStatus ?? '') && told?.AttributeName === TTL_ATTRIBUTE,
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
    async run(scene, signal) {
      const { DeletionProtectionEnabled: isProtected } = await describe(scene, signal);
      must(isProtected === true, 'deletion protection is off');
      return 'on';
    },
  },
];
