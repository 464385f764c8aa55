import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { randomUUID } from 'node:crypto';
import { dynamoTable, isRefused, type Item, type Table, type Update } from '../table/dynamo-table.ts';
import { activeKey, pullKey } from '../table/keys.ts';
import { CatalogError, LeaseLostError } from '../errors/cache-error.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { formatReference } from '../reference/reference.ts';
import { amountItem, failureItem, receiptItem, recordFrom, requestItem } from './pull-items.ts';
import { isEnded, type PullRecord, type PullRecords, requestKey } from './pull-record.ts';

/*
 * PULL and ACTIVE (lib/table/keys.ts):
 *
 *                  join                       begin              succeed, fail
 *   PULL    (none) ────► queued ─────────────────────► running ──────────────────► succeeded | failed ──► expires
 *                          └──────────────────────────────────────────────────────────┘
 *   ACTIVE  free ──────► pullId ────────────────────────────────────────────────► free, failedId
 *
 * join, succeed and fail are transactions over both rows, so ACTIVE names a running pull or none. A pull that began too early for an `alwaysPull` loses its ACTIVE
 * row to the next one, and goes on. Queued and running rows expire too, long after any execution is over.
 */

const DAY_SECONDS = 86_400;
const KEPT_AFTER_END_SECONDS = 7 * DAY_SECONDS;
const KEPT_AFTER_CREATION_SECONDS = 30 * DAY_SECONDS;
/** Tries on a row that others change at the same time. Each failed try means that another caller made progress. */
const TRIES = 5;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** No pull, or one that is over, or one that began too early for this caller. */
const FREE_OR_SEEN_LATE = 'attribute_not_exists(pullId) OR pullId = :seenLate';
const STILL_ACTIVE = 'pullId = :id';
const IS_NEW = 'attribute_not_exists(pk)';
/** Its registry has not been asked yet. */
const NOT_BEGUN = '#state = :queued';
/** The first end stands. */
const NOT_ENDED = '#state IN (:queued, :running)';
const NOT_ENDED_NAMES = { '#state': 'state' };
const NOT_ENDED_VALUES = { ':queued': 'queued', ':running': 'running' };
/** No later try of the same pull has the lock. */
const NOT_LATE = 'attribute_not_exists(#lock) OR #lock.generation <= :generation';

/** The columns that are written when a pull ends. */
type End =
  { readonly state: 'succeeded'; readonly receipt: Uint8Array } | { readonly state: 'failed'; readonly failure: Item };

/** Records of pulls as rows of one DynamoDB table. Every read of one is consistent. */
export function dynamoPullRecords(options: { client: DynamoDBClient; table: string }): PullRecords {
  const table = dynamoTable(options.client, options.table);
  return {
    join: (request, signal) => join(table, request, signal),
    find: (id, signal) => find(table, id, signal),
    findFailed: (request, signal) => findFailed(table, request, signal),

    async begin(id, lock, signal) {
      const { name, holder, generation } = lock;
      const row = await change(table, id, `begin pull ${id}`, signal, {
        update:
          'SET #state = :running, startedMs = if_not_exists(startedMs, :nowMs), updatedMs = :nowMs, plans = plans + :one, #lock = :lock, #done = :none ' +
          'REMOVE planned, plannedMs',
        names: { '#lock': 'lock', '#done': 'done' },
        values: { ':one': 1, ':lock': { name, holder, generation }, ':none': {}, ':generation': generation },
        condition: NOT_LATE,
      });
      if (row !== undefined) return recordFrom(row);
      const standing = await find(table, id, signal);
      if (standing === undefined || isEnded(standing)) return undefined;
      throw new LeaseLostError('begin pull', `a later planning of pull ${id} has begun and replaces this one`);
    },

    async planned(id, { total, missing }, signal) {
      await change(table, id, `write the plan of pull ${id}`, signal, {
        update: 'SET planned = :planned, plannedMs = :nowMs, updatedMs = :nowMs',
        values: { ':planned': { total, missing } },
      });
    },

    async progressed(id, batch, done, signal) {
      await change(table, id, `write the progress of pull ${id}`, signal, {
        update: 'SET #done.#batch = :amount, updatedMs = :nowMs',
        names: { '#done': 'done', '#batch': String(batch) },
        values: { ':amount': amountItem(done) },
      });
    },

    succeed: (id, receipt, signal) => end(table, id, { state: 'succeeded', receipt: receiptItem(receipt) }, signal),
    fail: (id, failure, signal) => end(table, id, { state: 'failed', failure: failureItem(failure) }, signal),
  };
}

/** TTL deletes late, so an expired row counts as absent. An id that is not valid names no pull. */
async function find(table: Table, id: string, signal: AbortSignal): Promise<PullRecord | undefined> {
  if (!ID.test(id)) return undefined;
  const row = await table.get(pullKey(id), true, `find pull ${id}`, signal);
  if (row === undefined || (row.expiresSeconds as number) * 1000 <= Date.now()) return undefined;
  return recordFrom(row);
}

/** ACTIVE names the last failed pull until the next one is created. */
async function findFailed(table: Table, request: PullRequest, signal: AbortSignal): Promise<PullRecord | undefined> {
  const op = `find the last pull of ${formatReference(request.reference)}`;
  const { failedId } = (await table.get(activeKey(requestKey(request)), false, op, signal)) ?? {};
  return failedId === undefined ? undefined : await find(table, failedId as string, signal);
}

async function join(
  table: Table,
  request: PullRequest,
  signal: AbortSignal,
): Promise<{ record: PullRecord; created: boolean }> {
  const key = activeKey(requestKey(request));
  const op = `join the pull of ${formatReference(request.reference)}`;
  const id = randomUUID();
  for (let tries = 1; tries <= TRIES; tries++) {
    const active = (await table.get(key, true, op, signal))?.pullId as string | undefined;
    const standing = active === undefined ? undefined : await find(table, active, signal);
    if (standing !== undefined && !isEnded(standing)) {
      const isInTime = !request.alwaysPull && standing.askedMs >= (request.resolvedSinceMs ?? 0);
      if (isInTime || standing.id === id) return { record: standing, created: standing.id === id };
      const waiting = await joinQueued(table, standing.id, op, signal);
      if (waiting !== undefined) return { record: waiting, created: false };
    }

    const row = newRow(request);
    const refused = await table.transact(
      [
        {
          key,
          update: 'SET pullId = :id, expiresSeconds = :expiresSeconds REMOVE failedId',
          condition: FREE_OR_SEEN_LATE,
          values: { ':id': id, ':seenLate': active ?? id, ':expiresSeconds': row.expiresSeconds },
        },
        { ...putOf(row), key: pullKey(id), condition: IS_NEW },
      ],
      op,
      signal,
    );
    if (refused === undefined) return { record: recordFrom({ ...row, ...pullKey(id) }), created: true };
    // Refused because of our own earlier write, whose answer was lost.
    const ours = await find(table, id, signal);
    if (ours !== undefined) return { record: ours, created: true };
  }
  throw new CatalogError(op, `too many other callers changed the active pull while trying to ${op}; try again`);
}

/** Joins one more caller to a queued pull; undefined if it has begun, and may have asked the registry already. */
async function joinQueued(table: Table, id: string, op: string, signal: AbortSignal): Promise<PullRecord | undefined> {
  const outcome = await table.update(
    {
      key: pullKey(id),
      update: 'SET askedMs = :nowMs',
      condition: NOT_BEGUN,
      names: { '#state': 'state' },
      values: { ':queued': 'queued', ':nowMs': Date.now() },
    },
    op,
    signal,
  );
  return isRefused(outcome) ? undefined : recordFrom(outcome);
}

const newRow = (request: PullRequest): Item => {
  const nowMs = Date.now();
  return {
    request: requestItem(request),
    state: 'queued',
    createdMs: nowMs,
    askedMs: nowMs,
    updatedMs: nowMs,
    plans: 0,
    done: {},
    expiresSeconds: Math.ceil(nowMs / 1000) + KEPT_AFTER_CREATION_SECONDS,
  };
};

/** All columns of a row, as an update. */
function putOf(row: Item): Pick<Update, 'update' | 'names' | 'values'> {
  const columns = Object.keys(row);
  return {
    update: `SET ${columns.map((column) => `#${column} = :${column}`).join(', ')}`,
    names: Object.fromEntries(columns.map((column) => [`#${column}`, column])),
    values: Object.fromEntries(columns.map((column) => [`:${column}`, row[column]])),
  };
}

/** The row after the change; undefined, without a change, if the pull ended or does not exist. `:nowMs` is set here. */
async function change(
  table: Table,
  id: string,
  op: string,
  signal: AbortSignal,
  { update, names, values, condition }: Pick<Update, 'update' | 'names' | 'values' | 'condition'>,
): Promise<Item | undefined> {
  const outcome = await table.update(
    {
      key: pullKey(id),
      update,
      condition: condition === undefined ? NOT_ENDED : `${NOT_ENDED} AND (${condition})`,
      names: { ...NOT_ENDED_NAMES, ...names },
      values: { ...NOT_ENDED_VALUES, ':nowMs': Date.now(), ...values },
    },
    op,
    signal,
  );
  return isRefused(outcome) ? undefined : outcome;
}

async function end(table: Table, id: string, ended: End, signal: AbortSignal): Promise<PullRecord> {
  const op = `end pull ${id}`;
  for (let tries = 1; tries <= TRIES; tries++) {
    const record = await find(table, id, signal);
    if (record === undefined)
      throw new CatalogError(op, `pull ${id} does not exist, or expired; request the pull again`, undefined, false);
    if (isEnded(record)) return record;
    await tryEnd(table, record, ended, op, signal);
  }
  throw new CatalogError(op, `too many other callers changed the pull while trying to ${op}; try again`);
}

/** Updates both rows, or only PULL if ACTIVE names another pull. The caller reads the row again to see whether it worked. */
async function tryEnd(
  table: Table,
  { id, request }: PullRecord,
  ended: End,
  op: string,
  signal: AbortSignal,
): Promise<void> {
  const nowMs = Date.now();
  const expiresSeconds = Math.ceil(nowMs / 1000) + KEPT_AFTER_END_SECONDS;
  const columns = putOf({ ...ended, endedMs: nowMs, updatedMs: nowMs, expiresSeconds });
  const row: Update = {
    key: pullKey(id),
    update: columns.update,
    condition: NOT_ENDED,
    names: { ...NOT_ENDED_NAMES, ...columns.names },
    values: { ...NOT_ENDED_VALUES, ...columns.values },
  };
  const active: Update = {
    key: activeKey(requestKey(request)),
    update: `SET expiresSeconds = :expiresSeconds${ended.state === 'failed' ? ', failedId = :id' : ''} REMOVE pullId`,
    condition: STILL_ACTIVE,
    values: { ':id': id, ':expiresSeconds': expiresSeconds },
  };
  const [hasEnded, isNotActive] = (await table.transact([row, active], op, signal)) ?? [];
  if (isNotActive === true && hasEnded === false) await table.update(row, op, signal);
}
