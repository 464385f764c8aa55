import type { Digest } from '../oci/digest.ts';
import type { Publication } from './catalog.ts';
import type { Completeness } from './ports.ts';
import type { ConditionCheck, Item, Table, Update } from '../table/dynamo-table.ts';
import { needsFrom, needsItem } from './items.ts';
import { blobKey, childKey, completeKey, epochKey, epochKeys } from '../table/keys.ts';

/*
 * What is complete (I2). A set of complete entries is remembered with its stamp: the epoch at which all their content was present. Every loss raises the epoch, in the
 * transaction that records it, so a set is right as long as its stamp is the epoch:
 *
 *   remember   read the epoch ─► read the rows of all content ─► transaction { check: epoch is what was read; write the set }
 *   lose       transaction { rows: absent, on the commit that was read before the store was asked; epoch + 1 on all shards }
 *   hit        stamp = epoch: trust the set; else read the rows
 *
 * A writer with a newer stamp replaces the set; a writer with the same stamp adds to it.
 */

/** No content was lost since the epoch of the root was read. */
export const epochUnchanged = (root: Digest, epoch: number): ConditionCheck => ({
  key: epochKey(root),
  condition: 'attribute_not_exists(epoch) OR epoch = :epoch',
  values: { ':epoch': epoch },
});

/** The writes by which a loss outdates every remembered set. */
export const nextEpoch = (): Update[] =>
  epochKeys.map((key) => ({ key, update: 'ADD epoch :one', values: { ':one': 1 } }));

export const epochFrom = (row: Item | undefined): number => (row?.epoch as number | undefined) ?? 0;

/** Entries of a root whose content was all present after the epoch was read. */
export interface Seen {
  readonly root: Digest;
  readonly epoch: number;
  /** The epoch of the set that the table remembers. */
  readonly stamp: number | undefined;
  readonly whole: ReadonlySet<Digest>;
}

/** Use it only with {@link epochUnchanged} in the same transaction: a stamp is never newer than the epoch. */
export function completeUpdate({ root, epoch, stamp, whole }: Seen): Update {
  const isSame = stamp === epoch;
  return {
    key: completeKey(root),
    update: isSame ? 'ADD complete :complete' : 'SET complete = :complete, stamp = :epoch',
    condition: isSame ? 'stamp = :epoch' : 'attribute_not_exists(stamp) OR stamp < :epoch',
    values: { ':complete': new Set(whole), ':epoch': epoch },
  };
}

/** Reads the epoch, then the rows of the manifests and of everything that they need; those of `bare` need nothing. */
export async function seeWhole(
  table: Table,
  root: Digest,
  manifests: readonly Digest[],
  bare: ReadonlyMap<Digest, unknown>,
  signal: AbortSignal,
): Promise<Seen> {
  const keys = [epochKey(root), completeKey(root), ...manifests.filter((one) => !bare.has(one)).map(childKey)];
  const rows = await table.getAll(keys, true, 'read what manifests need', signal);
  const stamp = rows.find(({ sk }) => sk === 'COMPLETE')?.stamp as number | undefined;
  const needs = new Map<Digest, readonly Digest[]>(rows.filter(({ sk }) => sk === 'CHILD').map(needsFrom));
  for (const one of bare.keys()) needs.set(one, []);
  const content = manifests.flatMap((manifest) => [manifest, ...(needs.get(manifest) ?? [])]);
  const blobs = await table.getAll(content.map(blobKey), true, 'find blobs', signal);
  const present = new Set(blobs.filter(({ state }) => state === 'present').map(({ pk }) => pk));
  const isPresent = (digest: Digest): boolean => present.has(blobKey(digest).pk);
  const whole = manifests.filter((one) => isPresent(one) && needs.get(one)?.every(isPresent) === true);
  return { root, epoch: epochFrom(rows.find(({ sk }) => sk === 'EPOCH')), stamp, whole: new Set(whole) };
}

/** The entries of the publication, without reading rows. */
export const seenBy = ({ root, complete, epoch, stamp }: Publication): Seen => ({
  root: root.digest,
  epoch,
  stamp,
  whole: new Set(complete),
});

const NONE_BARE: ReadonlyMap<Digest, unknown> = new Map();

export function completeness(table: Table): Completeness {
  return {
    async readEpoch(root, signal) {
      return epochFrom(await table.get(epochKey(root), true, 'read the epoch', signal));
    },

    async findWhole(root, manifests, { remember, bare = NONE_BARE, signal }) {
      if (manifests.length === 0) return new Set();
      const seen = await seeWhole(table, root, manifests, bare, signal);
      if (remember && seen.whole.size > 0) {
        // If it fails, another process remembered something newer; the result is right all the same.
        const writes = [epochUnchanged(root, seen.epoch), completeUpdate(seen)];
        await table.tryTransact(writes, 'remember what is complete', signal);
      }
      return seen.whole;
    },

    async writeContents(contents, signal) {
      const rows = [...contents].map(([manifest, needs]) => ({ ...childKey(manifest), needs: needsItem(needs) }));
      await table.putAll(rows, 'write what manifests need', signal);
    },

    async findNeeds(manifests, signal) {
      return new Map(
        (await table.getAll(manifests.map(childKey), true, 'read what manifests need', signal)).map(needsFrom),
      );
    },
  };
}
