import type { Catalog } from './catalog.ts';
import type { Table } from '../table/dynamo-table.ts';
import { linkKey, needKey, repoKey } from '../table/keys.ts';

/** Who may serve what, and who needs what. */
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
    async linkEarly(repository, { digest, mediaType, size, via, landed }, signal) {
      const more = [
        ...(via === undefined ? [] : [', via = :via']),
        ...(landed === undefined ? [] : [', landed = :landed']),
      ];
      await table.update(
        {
          key: linkKey(repository, digest),
          update: `SET mediaType = :mediaType, #size = :size${more.join('')}`,
          names: { '#size': 'size' },
          values: { ':mediaType': mediaType, ':size': size, ':via': via, ':landed': landed },
        },
        'link content',
        signal,
      );
    },
    async writeNeeds(repository, needed, neededBy, signal) {
      const rows = needed.map((digest) => ({ ...needKey(repository, digest), neededBy }));
      await table.putAll(rows, 'write needs', signal);
    },
  } satisfies Partial<Catalog>;
}
