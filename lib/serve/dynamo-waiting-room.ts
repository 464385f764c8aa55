import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { dynamoTable, isRefused } from '../table/dynamo-table.ts';
import { waitingKey } from '../table/keys.ts';
import { CacheError } from '../errors/cache-error.ts';
import { tooMany, type WaitingRoom } from './waiting-room.ts';
import type { ServeCall } from './serving.ts';

/** No caller waits longer than this: those of the period before the last have left, or died. */
const PERIOD_MS = 30_000;
const KEPT_SECONDS = 3_600;
/** Time to give a permit back, also for callers whose own deadline is over. */
const LEAVE_MS = 2_000;
/** Maximal age of a count that decides that a shard is full. */
const COUNT_FRESH_MS = 1_000;
/** Enough that a shard is rarely full while others are empty. */
const MIN_PERMITS_OF_SHARD = 8;
const SHARDS_TRIED = 2;

/** The callers of one shard, as last read or written. */
interface Count {
  readonly readAtMs: number;
  readonly period: number;
  /** Callers that came in the period before. */
  readonly before: number;
  readonly callers: number;
}

/**
 * The waiting room of all processes on one table: on Lambda each has one caller. Its permits are spread over shards, so that many callers do not write one row;
 * a caller tries two shards. Turning a caller away writes nothing. Callers are counted by the period in which they came: the permit of a killed process is free
 * again after two periods. Only where a period ends can two callers get the last permit of a shard.
 */
export function dynamoWaitingRoom(options: { client: DynamoDBClient; table: string; waiting: number }): WaitingRoom {
  const { waiting } = options;
  const table = dynamoTable(options.client, options.table);
  const shards = Math.max(1, Math.floor(waiting / MIN_PERMITS_OF_SHARD));
  const permitsOf = (shard: number): number => Math.floor((waiting + shards - 1 - shard) / shards);
  const counts = new Map<number, Count>();

  const countOf = async (shard: number, period: number, signal: AbortSignal): Promise<Count> => {
    const known = counts.get(shard);
    if (known?.period === period && Date.now() - known.readAtMs < COUNT_FRESH_MS) return known;
    const readAtMs = Date.now();
    const callers = new Map<string, number>();
    for await (const row of table.query(waitingKey(shard, 0).pk, 'count waiting callers', signal, String(period - 2))) {
      callers.set(String(row.sk), Number(row.callers));
    }
    const count = {
      readAtMs,
      period,
      before: callers.get(String(period - 1)) ?? 0,
      callers: callers.get(String(period)) ?? 0,
    };
    counts.set(shard, count);
    return count;
  };
  /** The callers of the shard after this change; undefined, and nothing is written, where they would be more than `most`. */
  const add = async (
    { shard, period }: { shard: number; period: number },
    change: number,
    most: number,
    signal: AbortSignal,
  ): Promise<number | undefined> => {
    const expiresSeconds = Math.floor((period * PERIOD_MS) / 1000) + KEPT_SECONDS;
    const row = await table.update(
      {
        key: waitingKey(shard, period),
        update: 'SET expiresSeconds = :expiresSeconds ADD callers :change',
        condition: 'attribute_not_exists(callers) OR callers <= :most',
        values: { ':change': change, ':expiresSeconds': expiresSeconds, ':most': most - change },
      },
      'count waiting callers',
      signal,
    );
    return isRefused(row) ? undefined : Number(row.callers);
  };
  const permitIn = async (shard: number, { signal, logger }: ServeCall): Promise<AsyncDisposable | undefined> => {
    const period = Math.floor(Date.now() / PERIOD_MS);
    const count = await countOf(shard, period, signal);
    const most = permitsOf(shard) - count.before;
    if (count.callers >= most) return undefined;
    const callers = await add({ shard, period }, 1, most, signal);
    counts.set(shard, { ...count, callers: callers ?? most });
    if (callers === undefined) return undefined;
    return {
      async [Symbol.asyncDispose]() {
        counts.delete(shard);
        const timeout = AbortSignal.timeout(LEAVE_MS);
        try {
          await add({ shard, period }, -1, waiting, timeout);
        } catch (error) {
          // The permit is free again after two periods.
          if (!timeout.aborted && !(error instanceof CacheError)) throw error;
          const reason = error instanceof Error ? error.message : 'unknown';
          logger.warn('a permit of the waiting room was not given back', { reason });
        }
      },
    };
  };
  return {
    async enter(call) {
      const first = Math.floor(Math.random() * shards);
      // Any other shard.
      const second = (first + 1 + Math.floor(Math.random() * (shards - 1))) % shards;
      for (const shard of [first, second].slice(0, Math.min(shards, SHARDS_TRIED))) {
        const permit = await permitIn(shard, call);
        if (permit !== undefined) return permit;
      }
      throw tooMany(waiting);
    },
  };
}
