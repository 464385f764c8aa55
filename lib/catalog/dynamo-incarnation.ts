import type { Catalog } from './catalog.ts';
import { isRefused, type Table } from './dynamo-table.ts';
import { INCARNATION_KEY } from './keys.ts';

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
      const outcome = await table.update(
        {
          key: INCARNATION_KEY,
          update: 'SET #number = :number',
          condition: 'attribute_not_exists(#number) OR #number < :number',
          names: { '#number': 'number' },
          values: { ':number': number },
        },
        'write the incarnation of the table',
        signal,
      );
      const row = isRefused(outcome) ? outcome.row : outcome;
      known = Math.max(number, row?.number as number);
      return known;
    },
  } satisfies Partial<Catalog>;
}
