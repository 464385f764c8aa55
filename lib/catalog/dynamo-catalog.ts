import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { dynamoTable, type Table, type Update } from '../table/dynamo-table.ts';
import { INCARNATION_KEY, linkKey, needKey, repoKey } from '../table/keys.ts';
import type { Catalog, LinkWrites, TableIdentity } from './ports.ts';
import { blobWrites } from './dynamo-blobs.ts';
import { completeness, nextEpoch } from './dynamo-completeness.ts';
import { pointerWrites } from './dynamo-pointers.ts';
import { reads } from './dynamo-reads.ts';

/** Which table this is among all that ever were on its bucket. Read once in the life of the process. */
function tableIdentity(table: Table): TableIdentity {
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
      // A table with another incarnation was restored or rebuilt: what it remembers as complete may be out of date.
      await table.transact([next, ...(row === undefined ? [] : nextEpoch())], op, signal);
      const now = await table.get(INCARNATION_KEY, true, op, signal);
      known = Math.max(number, now?.number as number);
      return known;
    },
    removeOtherVersions: (signal) => table.removeOtherVersions('remove rows of other versions', signal),
  };
}

/** Records what a repository may serve, and what needs what. */
function linkWrites(table: Table): LinkWrites {
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
  };
}

/** The catalogue in one DynamoDB table; its layout is drawn in `keys.ts`. */
export function dynamoCatalog(options: { client: DynamoDBClient; table: string }): Catalog {
  const table = dynamoTable(options.client, options.table);
  return {
    ...reads(table),
    ...blobWrites(table),
    ...linkWrites(table),
    ...completeness(table),
    ...pointerWrites(table),
    ...tableIdentity(table),
  };
}
