import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  QueryCommand,
  ScanCommand,
  TransactionCanceledException,
  type TransactWriteItem,
  TransactWriteItemsCommand,
  UpdateItemCommand,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import { marshall } from '@aws-sdk/util-dynamodb';
import { sleep } from '../async/time.ts';
import { BATCH_GET_KEYS, BATCH_WRITE_ITEMS, batchGet, batchWrite, chunk, inWaves } from './dynamo-batches.ts';
import { CatalogError } from '../errors/cache-error.ts';
import { attempt, backOffMs, CONFLICT_PATIENCE_MS, PASSING, ROUNDS } from './dynamo-client.ts';
import { type Item, OF_ANOTHER_VERSION, rowFrom, versioned, versionedUpdate } from './dynamo-rows.ts';
import type { Key } from './keys.ts';

/** The reason code of a write in a transaction whose condition failed. */
const CONDITION_FAILED = 'ConditionalCheckFailed';
/** The reason code of a write in a transaction whose row another transaction is writing. */
const CONFLICT = 'TransactionConflict';

export type { Item };

/** An update with its condition, as DynamoDB expressions over names (`#x`) and values (`:x`). */
export interface Update {
  readonly key: Key;
  readonly update: string;
  readonly condition?: string;
  readonly names?: Record<string, string>;
  readonly values: Item;
}

/** A write whose condition failed, with the row as it is. */
export interface Refused {
  readonly refused: true;
  readonly row: Item | undefined;
}

/** A condition on a row that the transaction does not change. */
export type ConditionCheck = Required<Pick<Update, 'key' | 'condition' | 'values'>>;

interface PageOptions {
  readonly after?: string | undefined;
  readonly pageSize?: number | undefined;
}

export const isRefused = (outcome: Item | Refused): outcome is Refused => outcome.refused === true;

/**
 * One table, for the catalogue, the leases and the records. Every failure is a CatalogError; an abort throws
 * the signal's reason.
 */
export interface Table {
  get(key: Key, consistent: boolean, op: string, signal: AbortSignal): Promise<Item | undefined>;
  /** The rows that exist, in any order. Any number of keys; duplicates are allowed. */
  getAll(keys: readonly Key[], consistent: boolean, op: string, signal: AbortSignal): Promise<Item[]>;
  /** The row after the update, or the row whose condition failed. */
  update(update: Update, op: string, signal: AbortSignal): Promise<Item | Refused>;
  /** Puts any number of rows without condition. Of rows with the same key, the last one counts. */
  putAll(rows: readonly (Key & Item)[], op: string, signal: AbortSignal): Promise<void>;
  /** Removes every row that another version of Entrepot wrote. Returns how many there were. */
  removeOtherVersions(op: string, signal: AbortSignal): Promise<number>;
  /** The rows of a partition in the order of their `sk`; those after `after`. Consistent. */
  query(pk: string, op: string, signal: AbortSignal, after?: string): AsyncGenerator<Item>;
  /** The same in pages, each of one read, of at most `pageSize` rows. The last may be empty. */
  pages(pk: string, op: string, signal: AbortSignal, from: PageOptions): AsyncGenerator<Item[]>;
  /**
   * All or nothing. Conflicts with other writers are retried until `signal` fires; after a lost answer,
   * nothing is executed twice. Returns undefined if all writes happened, else for each write whether its
   * condition failed.
   */
  transact(
    writes: readonly (ConditionCheck | Update)[],
    op: string,
    signal: AbortSignal,
  ): Promise<readonly boolean[] | undefined>;
  /** The same with one try. Returns whether it happened. */
  tryTransact(writes: readonly (ConditionCheck | Update)[], op: string, signal: AbortSignal): Promise<boolean>;
}

const toAttributes = (item: Item | Key): Record<string, AttributeValue> =>
  marshall(item, { removeUndefinedValues: true });

/** The parts of an update as the API wants them. */
function updateInput(table: string, update: Update) {
  const { update: expression, values } = versionedUpdate(update.update);
  return {
    TableName: table,
    Key: toAttributes(update.key),
    UpdateExpression: expression,
    ...(update.condition === undefined ? {} : { ConditionExpression: update.condition }),
    ...(update.names === undefined ? {} : { ExpressionAttributeNames: update.names }),
    ExpressionAttributeValues: toAttributes({ ...update.values, ...values }),
  };
}

function transactItem(table: string, write: ConditionCheck | Update): TransactWriteItem {
  if ('update' in write) return { Update: updateInput(table, write) };
  return {
    ConditionCheck: {
      TableName: table,
      Key: toAttributes(write.key),
      ConditionExpression: write.condition,
      ExpressionAttributeValues: toAttributes(write.values),
    },
  };
}

export function dynamoTable(client: DynamoDBClient, table: string): Table {
  async function* pages(
    pk: string,
    op: string,
    signal: AbortSignal,
    { after, pageSize }: PageOptions,
  ): AsyncGenerator<Item[]> {
    let from: Record<string, AttributeValue> | undefined;
    do {
      const query = new QueryCommand({
        TableName: table,
        KeyConditionExpression: after === undefined ? 'pk = :pk' : 'pk = :pk AND sk > :after',
        ExpressionAttributeValues: toAttributes({ ':pk': pk, ':after': after }),
        ConsistentRead: true,
        Limit: pageSize,
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const answer = await attempt(op, signal, () => client.send(query, { abortSignal: signal }));
      yield (answer.Items ?? []).map((item) => rowFrom(item, op));
      from = answer.LastEvaluatedKey;
    } while (from !== undefined);
  }
  /** Undefined if all writes happened, else a reason code for each of them. */
  const transactOnce = (
    writes: readonly (ConditionCheck | Update)[],
    op: string,
    signal: AbortSignal,
  ): Promise<readonly string[] | undefined> => {
    // One token for all of the SDK's retries: after a lost answer, nothing is executed twice.
    const items = writes.map((write) => transactItem(table, write));
    const command = new TransactWriteItemsCommand({ TransactItems: items, ClientRequestToken: randomUUID() });
    return attempt(op, signal, async () => {
      try {
        await client.send(command, { abortSignal: signal });
        return undefined;
      } catch (error) {
        if (!(error instanceof TransactionCanceledException)) throw error;
        return (error.CancellationReasons ?? []).map((reason) => reason.Code ?? 'None');
      }
    });
  };
  return {
    async get(key, consistent, op, signal) {
      const answer = await attempt(op, signal, () =>
        client.send(new GetItemCommand({ TableName: table, Key: toAttributes(key), ConsistentRead: consistent }), {
          abortSignal: signal,
        }),
      );
      return answer.Item === undefined ? undefined : rowFrom(answer.Item, op);
    },

    async getAll(keys, consistent, op, signal) {
      const distinct = [...new Map(keys.map((key) => [`${key.pk}\n${key.sk}`, key])).values()];
      const pages = chunk(distinct.map(toAttributes), BATCH_GET_KEYS);
      const rows = await inWaves(pages, (page) => batchGet(client, table, page, consistent, op, signal));
      return rows.flat();
    },

    async update(update, op, signal) {
      return await attempt(op, signal, async () => {
        try {
          const answer = await client.send(
            new UpdateItemCommand({
              ...updateInput(table, update),
              ReturnValues: 'ALL_NEW',
              ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
            }),
            { abortSignal: signal },
          );
          return rowFrom(answer.Attributes ?? {}, op);
        } catch (error) {
          if (!(error instanceof ConditionalCheckFailedException)) throw error;
          const refused: Refused = {
            refused: true,
            row: error.Item === undefined ? undefined : rowFrom(error.Item, op),
          };
          return refused;
        }
      });
    },

    async putAll(rows, op, signal) {
      const distinct = [...new Map(rows.map((row) => [`${row.pk}\n${row.sk}`, row])).values()];
      const pages = chunk(
        distinct.map((row): WriteRequest => ({ PutRequest: { Item: toAttributes(versioned(row)) } })),
        BATCH_WRITE_ITEMS,
      );
      await inWaves(pages, (page) => batchWrite(client, table, page, op, signal));
    },

    async removeOtherVersions(op, signal) {
      let from: Record<string, AttributeValue> | undefined;
      let removed = 0;
      do {
        const scan = new ScanCommand({
          TableName: table,
          ConsistentRead: true,
          ProjectionExpression: 'pk, sk',
          FilterExpression: OF_ANOTHER_VERSION.expression,
          ExpressionAttributeValues: OF_ANOTHER_VERSION.values,
          ...(from === undefined ? {} : { ExclusiveStartKey: from }),
        });
        const answer = await attempt(op, signal, () => client.send(scan, { abortSignal: signal }));
        const old = (answer.Items ?? []).map((Key): WriteRequest => ({ DeleteRequest: { Key } }));
        await inWaves(chunk(old, BATCH_WRITE_ITEMS), (page) => batchWrite(client, table, page, op, signal));
        removed += old.length;
        from = answer.LastEvaluatedKey;
      } while (from !== undefined);
      return removed;
    },

    async *query(pk, op, signal, after) {
      for await (const page of pages(pk, op, signal, { after })) yield* page;
    },

    pages,

    async transact(writes, op, signal) {
      const startedMs = performance.now();
      for (let round = 1; ; round++) {
        const reasons = await transactOnce(writes, op, signal);
        if (reasons === undefined) return undefined;
        if (reasons.includes(CONDITION_FAILED)) return reasons.map((reason) => reason === CONDITION_FAILED);
        const isPassing = reasons.some((reason) => PASSING.test(reason));
        const isOver = reasons.includes(CONFLICT)
          ? performance.now() - startedMs > CONFLICT_PATIENCE_MS
          : round >= ROUNDS;
        if (!isPassing || isOver) {
          throw new CatalogError(
            op,
            `DynamoDB refused the transaction to ${op}: ${reasons.join(', ') || 'no reason given'}`,
            undefined,
            isPassing,
          );
        }
        await sleep(backOffMs(round), signal);
      }
    },

    async tryTransact(writes, op, signal) {
      return (await transactOnce(writes, op, signal)) === undefined;
    },
  };
}
