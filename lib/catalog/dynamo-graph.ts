import type { Catalog } from './catalog.ts';
import { epochUnchanged } from './dynamo-epoch.ts';
import type { Table, Update } from './dynamo-table.ts';
import { linkKey, needKey, repoKey, rootKey, useKey } from './keys.ts';

/** Who may serve what, who needs what, and what is all there no more. */
export function graphWrites(table: Table) {
  return {
    async writeLinks(repository, links, signal) {
      const rows = links.map(({ digest, mediaType, size, landed, via, neededBy }) => ({
        ...linkKey(repository, digest),
        mediaType,
        size,
        landed,
        via,
        neededBy,
      }));
      await table.putAll([...rows, { ...repoKey(repository) }], 'write links', signal);
    },
    async linkEarly(repository, { digest, mediaType, size, via }, signal) {
      await table.update(
        {
          key: linkKey(repository, digest),
          update: `SET mediaType = :mediaType, #size = :size${via === undefined ? '' : ', via = :via'}`,
          names: { '#size': 'size' },
          values: { ':mediaType': mediaType, ':size': size, ':via': via },
        },
        'link content',
        signal,
      );
    },
    async writeNeeds(repository, needed, neededBy, signal) {
      const rows = needed.map((digest) => ({ ...needKey(repository, digest), neededBy }));
      await table.putAll(rows, 'write needs', signal);
    },
    async writeUses(uses, signal) {
      const rows = uses.map((use) => ({ ...useKey(use.digest, use.root, use.child) }));
      await table.putAll(rows, 'write uses', signal);
    },
    async uncomplete(root, children, signal) {
      if (children.length === 0) return;
      await table.update(
        {
          key: rootKey(root),
          update: 'DELETE complete :children',
          // Uses are written before their root: without this, one that was never published would get a row with nothing in it.
          condition: 'attribute_exists(pk)',
          values: { ':children': new Set(children) },
        },
        'take back completeness',
        signal,
      );
    },
    async recomplete(root, children, epoch, signal) {
      const again: Update = {
        key: rootKey(root),
        update: 'ADD complete :children',
        condition: 'attribute_exists(pk)',
        values: { ':children': new Set(children) },
      };
      return (await table.transact([epochUnchanged(epoch), again], 'put back completeness', signal)) === undefined;
    },
  } satisfies Partial<Catalog>;
}
