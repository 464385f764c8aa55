import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { randomUUID } from 'node:crypto';
import { leaseKey, NOBODY } from '../catalog/keys.ts';
import { dynamoTable, isRefused, type Item, type Table } from '../catalog/dynamo-table.ts';
import { CacheError, LeaseLostError } from '../errors/cache-error.ts';
import type { HeldLease, Lease, Leases } from './lease.ts';

/** Clocks of two machines are trusted to this much, and only to get past a holder that died long ago. */
const SKEW_MS = 60_000;
const RELEASE_TIMEOUT_MS = 5_000;

/** Free, or not renewed for a whole lease duration by the waiter's own clock, or dead for longer than any clock skew. Each success is one generation further on. */
const FREE_OR_UNRENEWED =
  'attribute_not_exists(holder) OR holder = :nobody OR version = :versionSeenUnchanged OR leaseUntilMs < :nowMinusSkewMs';
/** Still ours. Without this a late holder would undo the work of the next one. */
export const STILL_HELD = 'holder = :holder AND generation = :generation';

/**
 * Leases as rows of one DynamoDB table. Renewed every third of `durationMs` while they are held; a lease whose renewal did not get through for a
 * whole `durationMs` fires its signal, whether or not somebody took it.
 */
export function dynamoLeases(options: { client: DynamoDBClient; table: string; durationMs: number }): Leases {
  const { durationMs } = options;
  const table = dynamoTable(options.client, options.table);
  return {
    async tryAcquire(name, watch, signal) {
      const key = leaseKey(name);
      const unrenewed = watch.unrenewedVersion();
      // A waiter looks before it writes: reads are a tenth of the price, and do not contend with the holder's renewals.
      if (unrenewed === undefined && watch.hasSeen()) {
        const held = heldLease(await table.get(key, true, `look at lease ${name}`, signal));
        if (held !== undefined && held.leaseUntilMs >= Date.now() - SKEW_MS) {
          watch.saw(held);
          return held;
        }
      }
      const holder = randomUUID();
      const startedMs = performance.now();
      const outcome = await table.update(
        {
          key,
          update:
            'SET holder = :holder, version = :version, durationMs = :durationMs, leaseUntilMs = :untilMs, generation = if_not_exists(generation, :zero) + :one',
          condition: FREE_OR_UNRENEWED,
          values: {
            ':holder': holder,
            ':version': randomUUID(),
            ':durationMs': durationMs,
            ':untilMs': Date.now() + durationMs,
            ':zero': 0,
            ':one': 1,
            ':nobody': NOBODY,
            ':versionSeenUnchanged': unrenewed ?? NOBODY,
            ':nowMinusSkewMs': Date.now() - SKEW_MS,
          },
        },
        `acquire lease ${name}`,
        signal,
      );
      const row = isRefused(outcome) ? outcome.row : outcome;
      // A defeat by ourselves is a success whose first answer was lost.
      if (row?.['holder'] === holder) {
        return heldByUs(table, { name, holder, generation: Number(row['generation']), durationMs, startedMs });
      }
      const held = heldLease(row);
      if (held === undefined)
        throw new LeaseLostError('acquire', `lease ${name} was refused and freed at the same moment; try again`);
      watch.saw(held);
      return held;
    },
  };
}

function heldLease(row: Item | undefined): HeldLease | undefined {
  if (row === undefined || row['holder'] === undefined || row['holder'] === NOBODY) return undefined;
  return {
    holder: String(row['holder']),
    version: String(row['version']),
    durationMs: Number(row['durationMs']),
    leaseUntilMs: Number(row['leaseUntilMs']),
  };
}

/** A lease in our hands, from its acquisition (sent at `startedMs` of the monotonic clock) to its end. */
function heldByUs(
  table: Table,
  lease: { name: string; holder: string; generation: number; durationMs: number; startedMs: number },
): Lease {
  const { name, holder, generation, durationMs } = lease;
  const key = leaseKey(name);
  const lost = new AbortController();
  let renewing: Promise<void> | undefined;
  let freed: Promise<void> | undefined;
  let stopped = false;
  /** Until when the lease stands at least: counted from the moment its last successful write was sent. */
  let safeUntilMs = lease.startedMs + durationMs;

  const lose = (why: string, cause?: unknown): void => {
    stop();
    lost.abort(
      new LeaseLostError(
        'renew',
        `lease ${name} is ours no more: ${why}; the work under it was stopped, pull again`,
        cause,
      ),
    );
  };
  const heartbeat = setInterval(() => {
    renewing ??= renew().finally(() => (renewing = undefined));
  }, durationMs / 3);
  const watchdog = setInterval(() => {
    if (performance.now() >= safeUntilMs) lose(`it could not be renewed for ${durationMs} ms`);
  }, durationMs / 10);
  const stop = (): void => {
    stopped = true;
    clearInterval(heartbeat);
    clearInterval(watchdog);
  };

  async function renew(): Promise<void> {
    const sentMs = performance.now();
    const version = randomUUID();
    try {
      const outcome = await table.update(
        {
          key,
          update: 'SET version = :version, leaseUntilMs = :untilMs',
          condition: STILL_HELD,
          values: {
            ':version': version,
            ':untilMs': Date.now() + durationMs,
            ':holder': holder,
            ':generation': generation,
          },
        },
        `renew lease ${name}`,
        AbortSignal.any([lost.signal, AbortSignal.timeout(durationMs)]),
      );
      if (isRefused(outcome) && outcome.row?.['version'] !== version) {
        if (!stopped) lose('somebody else holds it');
        return;
      }
      safeUntilMs = sentMs + durationMs;
    } catch (error) {
      // Not the end yet: the next beat tries again, and the watchdog decides when it is too late.
      if (!(error instanceof CacheError) && (error as Error).name !== 'TimeoutError') lose('renewing failed', error);
    }
  }

  async function free(): Promise<void> {
    await table.update(
      {
        key,
        update: 'SET holder = :nobody',
        condition: STILL_HELD,
        values: { ':nobody': NOBODY, ':holder': holder, ':generation': generation },
      },
      `release lease ${name}`,
      AbortSignal.timeout(RELEASE_TIMEOUT_MS),
    );
  }

  const stopRenewing = async (): Promise<void> => {
    stop();
    await renewing;
  };
  const release = async (): Promise<void> => {
    await stopRenewing();
    freed ??= free();
    await freed;
  };
  return {
    name,
    holder,
    generation,
    signal: lost.signal,
    stopRenewing,
    release,
    markReleased(): void {
      stop();
      freed = Promise.resolve();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      try {
        await release();
      } catch (error) {
        // A lease that could not be freed ends by itself after durationMs; its work is done, so this is not a failure of the work.
        if (!(error instanceof CacheError) && (error as Error).name !== 'TimeoutError') throw error;
      }
    },
  };
}
