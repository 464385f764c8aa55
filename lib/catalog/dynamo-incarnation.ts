import type { Catalog } from './catalog.ts';
import { nextEpoch } from './dynamo-completeness.ts';
import type { Table, Update } from '../table/dynamo-table.ts';
import { INCARNATION_KEY } from '../table/keys.ts';

/** Which table this is among all that ever were on its bucket: read once for the life of the process. */
export function incarnation(table: Table) {
  let known: number | undefined;
  return {
    async readIncarnation({ fresh, signal }) {
      if (known !== undefined && !fresh) return known;
      const row = await table.get(INCARNATION_KEY, true, 'read the incarnation of the table', signal);
      known = row?.number as number | undefined;
      return known;
    },
    async writeIncarnation(number, signal) {
      const op = 'write the incarnation of the table';
      const next: Update = {
        key: INCARNATION_KEY,
        update: 'SET #number = :number',
        condition: 'attribute_not_exists(#number) OR #number < :number',
        names: { '#number': 'number' },
        values: { ':number': number },
      };
      const row = await table.get(INCARNATION_KEY, true, op, signal);
      // A table that had another one was restored or rebuilt: what it remembers as complete may be older than losses.
      await table.transact([next, ...(row === undefined ? [] : nextEpoch())], op, signal);
      const now = await table.get(INCARNATION_KEY, true, op, signal);
      known = Math.max(number, now?.number as number);
      return known;
    },
  } satisfies Partial<Catalog>;
}
