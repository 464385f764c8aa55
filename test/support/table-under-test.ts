import { CreateTableCommand, DynamoDBClient, waitUntilTableExists } from '@aws-sdk/client-dynamodb';
import { randomBytes } from 'node:crypto';
import { tableDefinition } from '../../infra/table.ts';
import type { Catalog } from '../../lib/catalog/ports.ts';
import { dynamoCatalog } from '../../lib/catalog/dynamo-catalog.ts';
import { dynamoClient } from '../../lib/table/dynamo-client.ts';
import { dynamoTable, type Item, type Update } from '../../lib/table/dynamo-table.ts';
import type { Key } from '../../lib/table/keys.ts';
import { dynamoLeases } from '../../lib/lock/dynamo-lease.ts';
import type { Leases } from '../../lib/lock/lease.ts';
import { dynamoAnswer, dynamoRefusal, inputOf, operationOf } from './dynamo-wire.ts';
import type { FaultAction, FaultProxy, FaultRule } from './http-fault-proxy.ts';
import { startMisbehavingTable, type MisbehavingTable } from './misbehaving-table.ts';

/** A running DynamoDB, embedded or real. */
export interface DynamoEndpoint {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  close(): Promise<void>;
}

/** Catalogue and leases on one table behind a misbehaving proxy. */
export interface Reach extends AsyncDisposable {
  readonly catalog: Catalog;
  readonly client: DynamoDBClient;
  readonly proxy: MisbehavingTable;
  leases(durationMs: number): Leases;
}

/** A fresh table, with direct access for tests. */
export interface TableUnderTest extends AsyncDisposable {
  readonly server: DynamoEndpoint;
  readonly table: string;
  /** A proxy of its own, without the faults of others. */
  reach(): Promise<Reach>;
  row(key: Key): Promise<Item | undefined>;
  change(update: Update): Promise<void>;
}

export const forever = new AbortController().signal;

/** A table of its own on `server`. */
export async function tableOn(server: DynamoEndpoint): Promise<TableUnderTest> {
  const table = `table-${randomBytes(8).toString('hex')}`;
  const { accessKeyId, secretAccessKey, region, endpoint } = server;
  const connection = { region, credentials: { accessKeyId, secretAccessKey } };
  const direct = dynamoClient({ ...connection, endpoint });
  await direct.send(new CreateTableCommand(tableDefinition(table)));
  await waitUntilTableExists({ client: direct, maxWaitTime: 20, minDelay: 1 }, { TableName: table });
  const rows = dynamoTable(direct, table);
  return {
    server,
    table,
    async reach() {
      const proxy = await startMisbehavingTable({ ...connection, dynamoEndpoint: endpoint, table });
      const client = dynamoClient({ ...connection, endpoint: proxy.endpoint });
      return {
        catalog: dynamoCatalog({ client, table }),
        client,
        proxy,
        leases: (durationMs) => dynamoLeases({ client, table, durationMs }),
        [Symbol.asyncDispose]: async () => {
          client.destroy();
          await proxy.close();
        },
      };
    },
    row: (key) => rows.get(key, true, 'look', forever),
    change: async (update) => {
      await rows.update(update, 'meddle', forever);
    },
    [Symbol.asyncDispose]: async () => {
      direct.destroy();
      await server.close();
    },
  };
}

export type DynamoOperation =
  'GetItem' | 'BatchGetItem' | 'UpdateItem' | 'BatchWriteItem' | 'TransactWriteItems' | 'Query';

/** The fault, for the first `times` requests of the operation. */
export const onDynamo = (operation: DynamoOperation, action: FaultAction, times = 1, skip = 0): FaultRule => ({
  method: 'POST',
  headers: { 'x-amz-target': new RegExp(`\\.${operation}$`) },
  times,
  skip,
  action,
});

/** The operations that a proxy saw, in order. */
export const operationsOf = (proxy: Pick<FaultProxy, 'log'>): string[] => proxy.log.map(operationOf);

/** An error of DynamoDB in place of an answer. */
export const dynamoError = (name: string, fields: Record<string, unknown> = {}, status = 400): FaultAction => ({
  kind: 'answer',
  answer: dynamoRefusal(name, fields, status),
});

/** An answer of DynamoDB in place of its own. */
export const answerWith = (body: unknown, status = 200): FaultAction => ({
  kind: 'answer',
  answer: dynamoAnswer(body, status),
});

/** Answers a batch with all entries unprocessed. */
export const allUnprocessed: FaultAction = {
  kind: 'answer',
  answer: (request) => {
    const { RequestItems: items } = inputOf(request);
    const isRead = operationOf(request) === 'BatchGetItem';
    return dynamoAnswer(isRead ? { Responses: {}, UnprocessedKeys: items } : { UnprocessedItems: items });
  },
};
