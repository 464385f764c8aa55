import { DynamoDBClient, ScanCommand, type AttributeValue } from '@aws-sdk/client-dynamodb';
import { unmarshall } from '@aws-sdk/util-dynamodb';
import type { TestStack } from './stack.ts';

export type Row = Readonly<Record<string, unknown>> & { readonly pk: string; readonly sk: string };

/** Every row of the table. */
export async function itemsOf({ dynamoConfig, table }: TestStack): Promise<Row[]> {
  const dynamo = new DynamoDBClient(dynamoConfig);
  const rows: Row[] = [];
  try {
    let from: Record<string, AttributeValue> | undefined;
    do {
      const scan = new ScanCommand({
        TableName: table,
        ConsistentRead: true,
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const { Items = [], LastEvaluatedKey } = await dynamo.send(scan);
      rows.push(...Items.map((item) => unmarshall(item) as Row));
      from = LastEvaluatedKey;
    } while (from !== undefined);
  } finally {
    dynamo.destroy();
  }
  return rows;
}

/** `<pk> <sk>` of every row of the table, sorted. */
export async function rowsOf(stack: TestStack): Promise<string[]> {
  return (await itemsOf(stack)).map(({ pk, sk }) => `${pk} ${sk}`).sort();
}
