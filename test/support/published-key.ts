import type { KeyObject } from 'node:crypto';
import type { PublishedKey } from '../../lib/access/signing-key.ts';

/** The row of the table, without the table: what lib/access/dynamo-published-key.ts writes and reads. */
export function publishedHere(now: () => number = () => Date.now()): PublishedKey {
  let row: { readonly key: KeyObject; readonly untilMs: number } | undefined;
  return {
    find: () => Promise.resolve(row === undefined || row.untilMs <= now() ? undefined : row.key),
    renew(key, untilMs) {
      if (row !== undefined && !row.key.equals(key)) return Promise.resolve(false);
      row = { key, untilMs };
      return Promise.resolve(true);
    },
    replace(key, untilMs) {
      row = { key, untilMs };
      return Promise.resolve();
    },
  };
}
