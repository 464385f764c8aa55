import { randomUUID } from 'node:crypto';
import { LeaseLostError } from '../errors/cache-error.ts';
import { fenceValues, STILL_HELD } from '../lock/dynamo-lease.ts';
import type { Fence } from '../lock/fence.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobRecord, BlobRow } from './catalog.ts';
import type { BlobWrites } from './ports.ts';
import { nextEpoch } from './dynamo-completeness.ts';
import { isRefused, type Table, type Update } from '../table/dynamo-table.ts';
import { blobFrom } from './items.ts';
import { blobKey, epochKeys, NOBODY } from '../table/keys.ts';

/** The row was not written since it was read, before the store was asked. */
const SAME_COMMIT = '#commit = :seen';
const NO_COMMIT = 'attribute_not_exists(#commit)';
const unwritten = (commit: string | undefined): string => (commit === undefined ? NO_COMMIT : SAME_COMMIT);

/** A transaction has at most 100 items, and each loss raises the epoch of every shard. */
const MOST_LOST_AT_ONCE = 100 - epochKeys.length;

/** Parallel writes of rows that do not say present, each on its own. */
const PARALLEL_WRITES = 16;

/** Records what is in the store, and how far each ingest got. */
export function blobWrites(table: Table): BlobWrites {
  return {
    blobOf: ({ row }) => blobFrom(row),

    async recordBlob(record, signal) {
      const row = present(record);
      const own = row.values[':commit'];
      const outcome = await table.update(
        { key: blobKey(record.content.digest), ...row, condition: unwritten(record.commit) },
        'record content',
        signal,
      );
      // Refused by our own first write, whose answer was lost: a success.
      return !isRefused(outcome) || outcome.row?.commit === own;
    },

    async commitBlob(claim, record, signal) {
      const row = present(record);
      const outcome = await table.update(
        {
          key: blobKey(record.content.digest),
          ...row,
          update: row.update.replace('SET ', 'SET holder = :nobody, committedBy = :holder, '),
          condition: `${STILL_HELD} AND ${unwritten(record.commit)}`,
          values: { ...row.values, ...fenceValues(claim), ':nobody': NOBODY },
        },
        'commit a blob',
        signal,
      );
      const found = isRefused(outcome) ? outcome.row : undefined;
      // Refused by our own first write, whose answer was lost: a success.
      if (!isRefused(outcome) || found?.committedBy === claim.holder) {
        claim.markReleased();
        return undefined;
      }
      if (found?.holder !== claim.holder || found.generation !== claim.generation) throw lost(claim, 'commit a blob');
      return blobFrom(found);
    },

    async saveCheckpoint(claim, digest, checkpoint, signal) {
      const outcome = await table.update(
        {
          key: blobKey(digest),
          update: 'SET checkpoint = :checkpoint',
          condition: STILL_HELD,
          values: { ':checkpoint': checkpoint, ...fenceValues(claim) },
        },
        'save a checkpoint',
        signal,
      );
      if (isRefused(outcome)) throw lost(claim, 'save a checkpoint');
    },

    async recordLoss(rows, signal) {
      const refused: Digest[] = [];
      const stored = rows.filter(({ state }) => state === 'present');
      for (let from = 0; from < stored.length; from += MOST_LOST_AT_ONCE) {
        refused.push(...(await recordLossAtOnce(table, stored.slice(from, from + MOST_LOST_AT_ONCE), signal)));
      }
      const others = rows.filter(({ state }) => state !== 'present');
      for (let from = 0; from < others.length; from += PARALLEL_WRITES) {
        const some = others.slice(from, from + PARALLEL_WRITES);
        const writes = some.map((row) => table.update(gone(row), 'record that content is lost', signal));
        // All must have ended before a failure is thrown: nothing runs on after the call returned.
        await Promise.allSettled(writes);
        const outcomes = await Promise.all(writes);
        refused.push(...some.filter((_, i) => isRefused(outcomes[i] ?? {})).map(({ digest }) => digest));
      }
      return refused;
    },
  };
}

/** In one transaction. If some rows were written meanwhile, again without them. */
async function recordLossAtOnce(table: Table, rows: readonly BlobRow[], signal: AbortSignal): Promise<Digest[]> {
  const refused: Digest[] = [];
  let left = rows;
  while (left.length > 0) {
    const failed = await table.transact([...left.map(gone), ...nextEpoch()], 'record that content is lost', signal);
    if (failed === undefined) break;
    refused.push(...left.filter((_, i) => failed[i]).map(({ digest }) => digest));
    left = left.filter((_, i) => failed[i] !== true);
  }
  return refused;
}

/** Marks the content as absent. Domains stay: those that proved to have the digest still have it. */
const gone = ({ digest, commit }: BlobRow): Update => ({
  key: blobKey(digest),
  update: 'SET #state = :absent, #commit = :commit REMOVE etag, crc32',
  condition: unwritten(commit),
  names: { '#state': 'state', '#commit': 'commit' },
  values: { ':absent': 'absent', ':commit': randomUUID(), ...(commit === undefined ? {} : { ':seen': commit }) },
});

/** Marks the content as present. */
function present({
  content,
  stored,
  domains,
  commit,
}: BlobRecord): Required<Pick<Update, 'update' | 'names' | 'values'>> {
  return {
    update:
      'SET #state = :present, #commit = :commit, #size = :size, etag = :etag' +
      (stored.crc32 === undefined ? ' REMOVE crc32,' : ', crc32 = :crc32 REMOVE') +
      ' checkpoint' +
      (domains.length === 0 ? '' : ' ADD domains :domains'),
    names: { '#state': 'state', '#size': 'size', '#commit': 'commit' },
    values: {
      ':present': 'present',
      ':commit': randomUUID(),
      ':size': content.size,
      ':etag': stored.etag,
      ':crc32': stored.crc32,
      ':domains': domains.length === 0 ? undefined : new Set(domains),
      ...(commit === undefined ? {} : { ':seen': commit }),
    },
  };
}

const lost = (claim: Fence, op: string): LeaseLostError =>
  new LeaseLostError(op, `${claim.name} was taken over before we could ${op}; its row was not changed, pull again`);
