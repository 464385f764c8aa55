import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { Catalog } from './catalog.ts';
import { blobWrites } from './dynamo-blobs.ts';
import { completeness } from './dynamo-completeness.ts';
import { graphWrites } from './dynamo-graph.ts';
import { pointerWrites } from './dynamo-pointers.ts';
import { reads } from './dynamo-reads.ts';
import { incarnation } from './dynamo-incarnation.ts';
import { dynamoTable } from '../table/dynamo-table.ts';

/** The catalogue in one DynamoDB table; its layout is drawn in `keys.ts`. */
export function dynamoCatalog(options: { client: DynamoDBClient; table: string }): Catalog {
  const table = dynamoTable(options.client, options.table);
  const removeOtherVersions = (signal: AbortSignal) =>
    table.removeOtherVersions('remove rows of other versions', signal);
  return {
    removeOtherVersions,
    ...reads(table),
    ...blobWrites(table),
    ...graphWrites(table),
    ...completeness(table),
    ...pointerWrites(table),
    ...incarnation(table),
  };
}
