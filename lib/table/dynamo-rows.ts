import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { marshall, unmarshall } from '@aws-sdk/util-dynamodb';
import { CatalogError } from '../errors/cache-error.ts';

/**
 * The version of the rows' form; each row carries it as `v`. Rows of 0.1 carried none. It is raised when a row means something else than before: what a reader of the
 * version before can still read is no new version.
 */
const SCHEMA = 2;

export type Item = Record<string, unknown>;

/** As it is written, with the version. */
export const versioned = (row: Item): Item => ({ ...row, v: SCHEMA });

/** The update that also writes the version. */
export function versionedUpdate(update: string): { readonly update: string; readonly values: Item } {
  const sets = /\bSET /;
  return {
    update: sets.test(update) ? update.replace(sets, 'SET v = :schema, ') : `${update} SET v = :schema`,
    values: { ':schema': SCHEMA },
  };
}

/** Takes rows of this version only. */
export const OF_ANOTHER_VERSION = {
  expression: 'attribute_not_exists(v) OR v <> :schema',
  values: marshall({ ':schema': SCHEMA }),
} as const;

/**
 * The row.
 *
 * @throws CatalogError if it is of another version, saying what to do.
 */
export function rowFrom(attributes: Record<string, AttributeValue>, op: string): Item {
  const { v = 1, ...row } = unmarshall(attributes);
  if (v === SCHEMA) return row;
  const advice =
    typeof v === 'number' && v > SCHEMA
      ? 'a newer version of Entrepot wrote it: use that one, or make the table again with "entrepot rebuild" of this one'
      : 'make the table again from the bucket with "entrepot rebuild"';
  throw new CatalogError(
    op,
    `the table has rows of version ${String(v)}, and this is version ${SCHEMA}: ${advice}; no content is lost by that`,
    undefined,
    false,
  );
}
