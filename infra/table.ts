import type { CreateTableCommandInput, UpdateTimeToLiveCommandInput } from '@aws-sdk/client-dynamodb';

/** The attribute by which DynamoDB expires rows: epoch seconds, the only time in the table that is not in milliseconds. */
const TTL_ATTRIBUTE = 'expiresSeconds';

/** The one table of the cache, as CreateTable wants it: string keys `pk` and `sk`, on demand, no index and no stream. */
export function tableDefinition(table: string): CreateTableCommandInput {
  return {
    TableName: table,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: [
      { AttributeName: 'pk', AttributeType: 'S' },
      { AttributeName: 'sk', AttributeType: 'S' },
    ],
    KeySchema: [
      { AttributeName: 'pk', KeyType: 'HASH' },
      { AttributeName: 'sk', KeyType: 'RANGE' },
    ],
  };
}

/** Expiry of the table's rows, as UpdateTimeToLive wants it. */
export function timeToLive(table: string): UpdateTimeToLiveCommandInput {
  return { TableName: table, TimeToLiveSpecification: { AttributeName: TTL_ATTRIBUTE, Enabled: true } };
}
