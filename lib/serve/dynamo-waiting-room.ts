import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { dynamoTable, isRefused } from '../catalog/dynamo-table.ts';
import { waitingKey } from '../catalog/keys.ts';
import { CacheError } from '../errors/cache-error.ts';
import { tooMany, type WaitingRoom } from './waiting-room.ts';

/** Nobody waits longer than this: who came in the period before the last one has left, or died. */
const PERIOD_MS = 30_000;
const KEPT_SECONDS = 3_600;
/** Time to leave, also for those whose own time is over. */
const LEAVE_MS = 2_000;

/**
 * The room of all processes on one table: on Lambda each has one caller. Callers are counted by the period in which they came, so that those who died in it are
 * forgotten with it.
 */
export function dynamoWaitingRoom(options: { client: DynamoDBClient; table: string; seats: number }): WaitingRoom {
  const { seats } = options;
  const table = dynamoTable(options.client, options.table);

  const add = async (period: number, callers: number, signal: AbortSignal): Promise<number> => {
    const expiresSeconds = Math.floor((period * PERIOD_MS) / 1000) + KEPT_SECONDS;
    const row = await table.update(
      {
        key: waitingKey(period),
        update: 'SET expiresSeconds = :expiresSeconds ADD callers :callers',
        values: { ':callers': callers, ':expiresSeconds': expiresSeconds },
      },
      'count who waits',
      signal,
    );
    return isRefused(row) ? 0 : Number(row.callers);
  };
  return {
    async enter({ signal, logger }) {
      const period = Math.floor(Date.now() / PERIOD_MS);
      const leave = async (): Promise<void> => {
        try {
          await add(period, -1, AbortSignal.timeout(LEAVE_MS));
        } catch (error) {
          // The seat is free again with the end of the period.
          if (!(error instanceof CacheError)) throw error;
          logger.warn('a seat of the waiting room was not given back', { reason: error.message });
        }
      };
      // First, so that no seat is taken where this fails.
      const before = await table.get(waitingKey(period - 1), true, 'count who waits', signal);
      if ((await add(period, 1, signal)) + Number(before?.callers ?? 0) > seats) {
        await leave();
        throw tooMany(seats);
      }
      return { [Symbol.asyncDispose]: leave };
    },
  };
}
