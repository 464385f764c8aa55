import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { marshall, unmarshall } from '@aws-sdk/util-dynamodb';
import { CatalogError } from '../errors/cache-error.ts';

/**
 * The version of the rows' format; each row has it as `v`. Rows of 0.1 have none. Raise it when older readers
 * would misread a row, not for additions that they can ignore.
 */
const SCHEMA = 2;

export type Item = Record<string, unknown>;

/** The row with its version. */
export const versioned = (row: Item): Item => ({ ...row, v: SCHEMA });

/** The update, extended to write the version. */
export function versionedUpdate(update: string): { readonly update: string; readonly values: Item } {
  const sets = /\bSET /;
  return {
    update: sets.test(update) ? update.replace(sets, 'SET v = :schema, ') : `${update} SET v = :schema`,
    values: { ':schema': SCHEMA },
  };
}

/** A filter for rows of any other version. */
export const OF_ANOTHER_VERSION = {
  expression: 'attribute_not_exists(v) OR v <> :schema',
  values: marshall({ ':schema': SCHEMA }),
} as const;

/**
 * The row without its version.
 *
 * @throws CatalogError if the row has another version; the message says what to do.
 */
export function rowFrom(attributes: Record<string, AttributeValue>, op: string): Item {
  const { v = 1, ...row } = unmarshall(attributes);
  if (v === SCHEMA) return row;
  const advice =
    typeof v === 'number' && v > SCHEMA
      ? 'a newer version of Entrepot wrote it: use that one, or rebuild the table with "entrepot rebuild" of this one'
      : 'rebuild the table from the bucket with "entrepot rebuild"';
  throw new CatalogError(
    op,
    `the table has rows of version ${String(v)}, and this is version ${SCHEMA}: ${advice}; no content is lost by that`,
    undefined,
    false,
  );
}
