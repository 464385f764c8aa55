import { randomUUID } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { withGrace } from '../async/time.ts';
import { CacheError, CatalogError, LeaseLostError } from '../errors/cache-error.ts';
import { dynamoTable, isRefused, type Item, type Table, type Update } from '../table/dynamo-table.ts';
import { isLockRow, type Key, leaseKey, NOBODY } from '../table/keys.ts';
import type { Fence } from './fence.ts';
import { SKEW_MS, startHeartbeat } from './heartbeat.ts';
import type { HeldLease, Lease, Leases } from './lease.ts';

/** Still ours. Without this a late holder would undo the work of the next one. */
export const STILL_HELD = 'holder = :holder AND generation = :generation';

/** The values of {@link STILL_HELD}. */
export const fenceValues = ({ holder, generation }: Fence) => ({ ':holder': holder, ':generation': generation });

/** The holder of the lease by its row, if there is one. */
export function heldLease(row: Readonly<Record<string, unknown>> | undefined): HeldLease | undefined {
  if (row?.holder === undefined || row.holder === NOBODY) return undefined;
  return {
    holder: row.holder as string,
    version: row.version as string,
    durationMs: row.durationMs as number,
    leaseUntilMs: row.leaseUntilMs as number,
  };
}

const RELEASE_TIMEOUT_MS = 5_000;
/** When the caller is stopped: time for the answer of a write that takes a lease, and then for giving it back. */
const GRACE_MS = 2_000;
/** How long a free lock keeps its row. Then its generations begin anew, which is safe: a fence names its holder, too. */
const FREE_ROW_SECONDS = 86_400;

/**
 * Free, or not renewed for a whole lease duration by the waiter's own clock, or dead for longer than any
 * clock skew. Each success is one generation further on.
 */
const FREE_OR_UNRENEWED =
  'attribute_not_exists(holder) OR holder = :nobody OR version = :versionSeenUnchanged OR leaseUntilMs < :nowMinusSkewMs';

const HELD_BY_AN_EARLIER_TRY = 'holder = :heldBy AND generation = :heldSince';

/**
 * Leases as rows of one DynamoDB table. Renewed every third of `durationMs` while they are held. After a
 * whole `durationMs` without a renewal the lease's signal fires, whether or not another process took it.
 *
 * A try that is stopped, or gets no answer, gives back what it may have taken before it throws. If the table
 * cannot be reached for that either, the lease stays until it expires, like that of a dead holder.
 */
export function dynamoLeases(options: { client: DynamoDBClient; table: string; durationMs: number }): Leases {
  const { durationMs } = options;
  const table = dynamoTable(options.client, options.table);
  return {
    async tryAcquire(name, watch, signal) {
      const unrenewed = watch.unrenewedVersion();
      // A waiter reads before it writes: a read costs a tenth, and does not contend with the holder's renewals.
      if (unrenewed === undefined && watch.hasSeen()) {
        const held = heldLease(await table.get(leaseKey(name), true, `read lease ${name}`, signal));
        if (held !== undefined && held.leaseUntilMs >= Date.now() - SKEW_MS) {
          watch.saw(held);
          return held;
        }
      }
      const holder = randomUUID();
      const startedMs = performance.now();
      const row = await take(table, { name, holder, durationMs }, freeOrUnrenewed(unrenewed ?? NOBODY), signal);
      if (row?.holder === holder) {
        return heldByUs(table, { name, holder, generation: Number(row.generation), durationMs, startedMs, row });
      }
      const held = heldLease(row);
      if (held === undefined)
        throw new CatalogError('acquire', `lease ${name} was refused, but no one holds it; try again`);
      watch.saw(held);
      return held;
    },

    async adopt({ name, holder, generation }, signal) {
      const startedMs = performance.now();
      const lease = { name, holder, generation };
      const row = await renew(table, lease, durationMs, signal);
      if (row === undefined) {
        throw new LeaseLostError('adopt', `lease ${name} is no longer ours: it was taken over, or freed`);
      }
      return heldByUs(table, { ...lease, durationMs, startedMs, row });
    },

    async retake(fence, signal) {
      const { name } = fence;
      const holder = randomUUID();
      const startedMs = performance.now();
      const values = { ':heldBy': fence.holder, ':heldSince': fence.generation };
      const row = await take(
        table,
        { name, holder, durationMs },
        { condition: HELD_BY_AN_EARLIER_TRY, values },
        signal,
      );
      if (row?.holder === holder) {
        return heldByUs(table, { name, holder, generation: Number(row.generation), durationMs, startedMs, row });
      }
      throw new LeaseLostError('retake', `lease ${name} is no longer ours: it was taken over, or freed`);
    },
  };
}

/** What one acquisition writes. */
interface Taken {
  readonly name: string;
  readonly holder: string;
  readonly durationMs: number;
}

type Condition = Required<Pick<Update, 'condition' | 'values'>>;

const freeOrUnrenewed = (versionSeenUnchanged: string): Condition => ({
  condition: FREE_OR_UNRENEWED,
  values: {
    ':nobody': NOBODY,
    ':versionSeenUnchanged': versionSeenUnchanged,
    ':nowMinusSkewMs': Date.now() - SKEW_MS,
  },
});

/**
 * The row after the try. It has our `holder` if the lease is ours, also if a retry was refused by our own
 * first write, whose answer was lost. If it throws, it leaves no lease behind.
 */
async function take(table: Table, taken: Taken, condition: Condition, signal: AbortSignal): Promise<Item | undefined> {
  signal.throwIfAborted();
  try {
    const row = await withGrace(signal, GRACE_MS, (late) => write(table, taken, condition, late));
    if (row?.holder === taken.holder) signal.throwIfAborted();
    return row;
  } catch (error) {
    const refused = !signal.aborted && error instanceof CacheError && !error.retryable;
    if (!refused) await giveBack(table, taken);
    throw error;
  }
}

async function write(
  table: Table,
  { name, holder, durationMs }: Taken,
  { condition, values }: Condition,
  signal: AbortSignal,
): Promise<Item | undefined> {
  const key = leaseKey(name);
  const outcome = await table.update(
    {
      key,
      update:
        'SET holder = :holder, version = :version, durationMs = :durationMs, leaseUntilMs = :untilMs, generation = if_not_exists(generation, :zero) + :one' +
        (isLockRow(key) ? ' REMOVE expiresSeconds' : ''),
      condition,
      values: {
        ...values,
        ':holder': holder,
        ':version': randomUUID(),
        ':durationMs': durationMs,
        ':untilMs': Date.now() + durationMs,
        ':zero': 0,
        ':one': 1,
      },
    },
    `acquire lease ${name}`,
    signal,
  );
  return isRefused(outcome) ? outcome.row : outcome;
}

/**
 * Frees the row if a write of ours took it, whether or not its answer arrived. Uses a transaction, because
 * that conflicts with a write of ours that is still being executed, and is then retried after it.
 */
async function giveBack(table: Table, { name, holder }: Taken): Promise<void> {
  const timeout = AbortSignal.timeout(GRACE_MS);
  const { update, values } = freed(leaseKey(name));
  const ours: Update = {
    key: leaseKey(name),
    update,
    condition: 'holder = :holder',
    values: { ...values, ':holder': holder },
  };
  try {
    await table.transact([ours], `give back lease ${name}`, timeout);
  } catch (error) {
    // It expires by itself. The caller must get the reason why it was not acquired.
    if (!timeout.aborted && !(error instanceof CacheError)) throw error;
  }
}

/** A lease that is ours. `startedMs`: when its acquisition was sent, by the monotonic clock. */
function heldByUs(
  table: Table,
  taken: Fence & { readonly durationMs: number; readonly startedMs: number; readonly row: Item },
): Lease {
  const { name, holder, generation, durationMs, startedMs, row } = taken;
  const lost = new AbortController();
  const heartbeat = startHeartbeat({
    durationMs,
    startedMs,
    renew: async (signal) => (await renew(table, taken, durationMs, signal)) !== undefined,
    onLost: (why, cause) => {
      const message = `lease ${name} was lost: ${why}; the work under it was stopped, pull again`;
      lost.abort(new LeaseLostError('renew', message, cause));
    },
  });
  let freed: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    await heartbeat.stop();
    await (freed ??= free(table, taken));
  };
  return {
    name,
    holder,
    generation,
    row,
    signal: lost.signal,
    stopRenewing: () => heartbeat.stop(),
    release,
    letGo: () => (freed ??= heartbeat.stop()),
    markReleased(): void {
      freed = heartbeat.stop();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      try {
        await release();
      } catch (error) {
        // A lease that could not be freed expires by itself. Its work is done, so this is not an error.
        if (!(error instanceof CacheError)) throw error;
      }
    },
  };
}

/** Renews for another `durationMs`. Returns the row, or undefined if the lease is no longer ours. */
async function renew(table: Table, lease: Fence, durationMs: number, signal: AbortSignal): Promise<Item | undefined> {
  const outcome = await table.update(
    {
      key: leaseKey(lease.name),
      update: 'SET version = :version, leaseUntilMs = :untilMs',
      condition: STILL_HELD,
      values: { ':version': randomUUID(), ':untilMs': Date.now() + durationMs, ...fenceValues(lease) },
    },
    `renew lease ${lease.name}`,
    signal,
  );
  return isRefused(outcome) ? undefined : outcome;
}

/** Frees the row, if it is still ours. */
async function free(table: Table, lease: Fence): Promise<void> {
  const op = `release lease ${lease.name}`;
  const timeout = AbortSignal.timeout(RELEASE_TIMEOUT_MS);
  const key = leaseKey(lease.name);
  const { update, values } = freed(key);
  try {
    await table.update(
      { key, update, condition: STILL_HELD, values: { ...values, ...fenceValues(lease) } },
      op,
      timeout,
    );
  } catch (error) {
    if (!timeout.aborted) throw error;
    throw new CatalogError(
      op,
      `DynamoDB took longer than ${RELEASE_TIMEOUT_MS} ms to ${op}; it expires by itself`,
      error,
    );
  }
}

/** The update that frees the row. */
const freed = (key: Key): Pick<Update, 'update' | 'values'> =>
  isLockRow(key)
    ? {
        update: 'SET holder = :nobody, expiresSeconds = :expiresSeconds',
        values: { ':nobody': NOBODY, ':expiresSeconds': Math.ceil(Date.now() / 1000) + FREE_ROW_SECONDS },
      }
    : { update: 'SET holder = :nobody', values: { ':nobody': NOBODY } };
