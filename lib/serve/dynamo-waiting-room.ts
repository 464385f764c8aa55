import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { dynamoTable, isRefused } from '../table/dynamo-table.ts';
import { waitingKey } from '../table/keys.ts';
import { CacheError } from '../errors/cache-error.ts';
import { tooMany, type WaitingRoom } from './waiting-room.ts';
import type { ServeCall } from './serving.ts';

/** Nobody waits longer than this: callers that came in the period before the last one have left, or died. */
const PERIOD_MS = 30_000;
const KEPT_SECONDS = 3_600;
/** Time to leave, also for callers whose own time is over. */
const LEAVE_MS = 2_000;
/** A count may be as old as this when it decides that a shard is full. */
const COUNT_FRESH_MS = 1_000;
/** So that a shard is rarely full while others are empty. */
const LEAST_SEATS_OF_SHARD = 8;
const SHARDS_TRIED = 2;

/** The callers of one shard, as it was read or written last. */
interface Count {
  readonly readAtMs: number;
  readonly period: number;
  /** Those that came in the period before. */
  readonly before: number;
  readonly callers: number;
}

/**
 * The room of all processes on one table: on Lambda each has one caller. Its seats are spread over shards, so that many callers at once do not write one row; a
 * caller tries two of them. Turning a caller away writes nothing. Callers are counted by the period in which they came: a seat whose process was killed, or whose
 * return was lost, is free again after two periods. Two callers on both sides of the turn of a period may both get the last seat of a shard; no others can.
 */
export function dynamoWaitingRoom(options: { client: DynamoDBClient; table: string; seats: number }): WaitingRoom {
  const { seats } = options;
  const table = dynamoTable(options.client, options.table);
  const shards = Math.max(1, Math.floor(seats / LEAST_SEATS_OF_SHARD));
  const seatsOf = (shard: number): number => Math.floor((seats + shards - 1 - shard) / shards);
  const counts = new Map<number, Count>();

  const countOf = async (shard: number, period: number, signal: AbortSignal): Promise<Count> => {
    const known = counts.get(shard);
    if (known?.period === period && Date.now() - known.readAtMs < COUNT_FRESH_MS) return known;
    const readAtMs = Date.now();
    const callers = new Map<string, number>();
    for await (const row of table.query(waitingKey(shard, 0).pk, 'count who waits', signal, String(period - 2))) {
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
  /** The callers of the shard with this change; undefined, and nothing is written, where there would be more than `most`. */
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
      'count who waits',
      signal,
    );
    return isRefused(row) ? undefined : Number(row.callers);
  };
  const seatIn = async (shard: number, { signal, logger }: ServeCall): Promise<AsyncDisposable | undefined> => {
    const period = Math.floor(Date.now() / PERIOD_MS);
    const count = await countOf(shard, period, signal);
    const most = seatsOf(shard) - count.before;
    if (count.callers >= most) return undefined;
    const callers = await add({ shard, period }, 1, most, signal);
    counts.set(shard, { ...count, callers: callers ?? most });
    if (callers === undefined) return undefined;
    return {
      async [Symbol.asyncDispose]() {
        counts.delete(shard);
        const timeout = AbortSignal.timeout(LEAVE_MS);
        try {
          await add({ shard, period }, -1, seats, timeout);
        } catch (error) {
          // The seat is free again with the end of the period.
          if (!timeout.aborted && !(error instanceof CacheError)) throw error;
          const reason = error instanceof Error ? error.message : 'unknown';
          logger.warn('a seat of the waiting room was not given back', { reason });
        }
      },
    };
  };
  return {
    async enter(call) {
      const first = Math.floor(Math.random() * shards);
      // Another one than the first, any of them.
      const second = (first + 1 + Math.floor(Math.random() * (shards - 1))) % shards;
      for (const shard of [first, second].slice(0, Math.min(shards, SHARDS_TRIED))) {
        const seat = await seatIn(shard, call);
        if (seat !== undefined) return seat;
      }
      throw tooMany(seats);
    },
  };
}
