import {
  type AttributeValue,
  BatchGetItemCommand,
  BatchWriteItemCommand,
  type DynamoDBClient,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import { sleep } from '../async/time.ts';
import { CatalogError } from '../errors/cache-error.ts';
import { attempt, backOffMs, ROUNDS } from './dynamo-client.ts';
import { type Item, rowFrom } from './dynamo-rows.ts';

/** Limits of the API: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html */
export const BATCH_GET_KEYS = 100;
export const BATCH_WRITE_ITEMS = 25;
/** Batches of one call that are under way at the same time. */
const PARALLEL_BATCHES = 4;

/** The rows of one page of keys that exist. */
export async function batchGet(
  client: DynamoDBClient,
  table: string,
  page: Record<string, AttributeValue>[],
  consistent: boolean,
  op: string,
  signal: AbortSignal,
): Promise<Item[]> {
  const rows: Item[] = [];
  let keys = page;
  for (let round = 1; keys.length > 0; round++) {
    if (round > ROUNDS) throw stillUnprocessed(op, keys.length);
    if (round > 1) await sleep(backOffMs(round), signal);
    const answer = await attempt(op, signal, () =>
      client.send(new BatchGetItemCommand({ RequestItems: { [table]: { Keys: keys, ConsistentRead: consistent } } }), {
        abortSignal: signal,
      }),
    );
    for (const item of answer.Responses?.[table] ?? []) rows.push(rowFrom(item, op));
    keys = answer.UnprocessedKeys?.[table]?.Keys ?? [];
  }
  return rows;
}

/** Writes one page. */
export async function batchWrite(
  client: DynamoDBClient,
  table: string,
  page: WriteRequest[],
  op: string,
  signal: AbortSignal,
): Promise<void> {
  let writes = page;
  for (let round = 1; writes.length > 0; round++) {
    if (round > ROUNDS) throw stillUnprocessed(op, writes.length);
    if (round > 1) await sleep(backOffMs(round), signal);
    const answer = await attempt(op, signal, () =>
      client.send(new BatchWriteItemCommand({ RequestItems: { [table]: writes } }), { abortSignal: signal }),
    );
    writes = answer.UnprocessedItems?.[table] ?? [];
  }
}

/** All results in order, a few at a time. When a wave fails, all of it settles before its first failure is thrown. */
export async function inWaves<T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const wave of chunk(all, PARALLEL_BATCHES)) {
    const running = wave.map(work);
    await Promise.allSettled(running);
    results.push(...(await Promise.all(running)));
  }
  return results;
}

const stillUnprocessed = (op: string, count: number): CatalogError =>
  new CatalogError(
    op,
    `DynamoDB left ${count} rows unprocessed after ${ROUNDS} rounds while trying to ${op}; the table is throttled`,
  );

export function chunk<T>(all: readonly T[], size: number): T[][] {
  const pages: T[][] = [];
  for (let i = 0; i < all.length; i += size) pages.push(all.slice(i, i + size));
  return pages;
}
