import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  CreateTableCommand,
  ScanCommand,
  waitUntilTableExists,
  type AttributeValue,
  type DynamoDBClient,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { tableDefinition } from '../../infra/table.ts';

const BATCH_GET_KEYS = 100;
const BATCH_WRITE_ITEMS = 25;

type Row = Record<string, AttributeValue>;

/** A copy of a table that lags behind it, for eventually consistent reads. */
export interface LateReplica extends AsyncDisposable {
  readonly table: string;
  /** Call it for rows that were, or may have been, written just now. */
  wrote(keys: readonly Row[]): void;
}

/**
 * Each row of the copy is an earlier state of the row of `table`: at least `lagMs` ago, or when the copy was made. Rows that `wrote` was called for
 * catch up. `Infinity`: all rows stay as they were when the copy was made.
 */
export async function startLateReplica(client: DynamoDBClient, table: string, lagMs: number): Promise<LateReplica> {
  const replica = `${table}-late-${randomBytes(6).toString('hex')}`;
  const closing = new AbortController();
  await client.send(new CreateTableCommand(tableDefinition(replica)));
  await waitUntilTableExists({ client, maxWaitTime: 20, minDelay: 1 }, { TableName: replica });

  /** One after the other: an older read of a row must not overwrite a newer one. */
  let reading: Promise<unknown> = Promise.resolve();
  let writing: Promise<unknown> = copyAll(client, table, replica);
  await writing;

  async function catchUp(keys: readonly Row[]): Promise<void> {
    const rows = await readAll(client, table, keys);
    const dueMs = performance.now() + lagMs;
    const before = writing;
    writing = (async () => {
      await before;
      await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal: closing.signal });
      await writeAll(client, replica, keys, rows);
    })();
    writing.catch(() => undefined); // Reported by disposal.
  }

  return {
    table: replica,
    wrote(keys) {
      if (lagMs === Infinity || keys.length === 0 || closing.signal.aborted) return;
      reading = reading.then(() => catchUp(keys));
      reading.catch(() => undefined); // Reported by disposal.
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      const ends = await Promise.allSettled([reading, writing]);
      for (const end of ends) if (end.status === 'rejected' && !isAbort(end.reason)) throw end.reason;
    },
  };
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

const keyText = ({ pk, sk }: Row): string => `${pk?.S ?? ''}\n${sk?.S ?? ''}`;

async function copyAll(client: DynamoDBClient, table: string, replica: string): Promise<void> {
  let from: Row | undefined;
  do {
    const scan = new ScanCommand({
      TableName: table,
      ConsistentRead: true,
      ...(from === undefined ? {} : { ExclusiveStartKey: from }),
    });
    const { Items = [], LastEvaluatedKey } = await client.send(scan);
    await writeAll(client, replica, Items, new Map(Items.map((row) => [keyText(row), row])));
    from = LastEvaluatedKey;
  } while (from !== undefined);
}

/** The rows that exist, by their keys. */
async function readAll(client: DynamoDBClient, table: string, keys: readonly Row[]): Promise<Map<string, Row>> {
  const rows = new Map<string, Row>();
  for (let i = 0; i < keys.length; i += BATCH_GET_KEYS) {
    let left: Row[] = keys.slice(i, i + BATCH_GET_KEYS);
    while (left.length > 0) {
      const answer = await client.send(
        new BatchGetItemCommand({ RequestItems: { [table]: { Keys: left, ConsistentRead: true } } }),
      );
      for (const row of answer.Responses?.[table] ?? []) rows.set(keyText(row), row);
      left = answer.UnprocessedKeys?.[table]?.Keys ?? [];
    }
  }
  return rows;
}

/** Writes each key as in `rows`; a key that is not there is deleted. */
async function writeAll(
  client: DynamoDBClient,
  table: string,
  keys: readonly Row[],
  rows: ReadonlyMap<string, Row>,
): Promise<void> {
  for (let i = 0; i < keys.length; i += BATCH_WRITE_ITEMS) {
    let left = keys.slice(i, i + BATCH_WRITE_ITEMS).map(({ pk, sk }): WriteRequest => {
      const row = rows.get(keyText({ pk: pk!, sk: sk! }));
      return row === undefined ? { DeleteRequest: { Key: { pk: pk!, sk: sk! } } } : { PutRequest: { Item: row } };
    });
    while (left.length > 0) {
      const answer = await client.send(new BatchWriteItemCommand({ RequestItems: { [table]: left } }));
      left = answer.UnprocessedItems?.[table] ?? [];
    }
  }
}
