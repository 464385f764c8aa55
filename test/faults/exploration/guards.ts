import type { BlobRecord } from '../../../lib/catalog/catalog.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import type { ContentStore } from '../../../lib/store/content-store.ts';
import type { Change, Write } from './subject.ts';

/*
 * The guards of the protocol (decision 0031), each of which can be taken out alone, to see that the exploration finds what goes wrong without it. One for each
 * interleaving that must be impossible.
 */

/** Holds whatever the condition says, which keeps using its values: DynamoDB refuses those that nothing uses. */
const always = (condition: string): string => `(${condition} OR attribute_not_exists(neverThere))`;

/** Written whatever was written since the row was read. */
const onAnyCommit = ({ ConditionExpression: condition }: Write): Partial<Write> =>
  condition?.includes('#commit') === true
    ? { ConditionExpression: condition.replace(/#commit = :seen|attribute_not_exists\(#commit\)/, always) }
    : {};

const isShard = ({ Key }: Write): boolean => Key?.sk?.S === 'EPOCH';

/** What was found in the store is of no media type that a manifest gave it. */
const isAdopted = ({ content }: BlobRecord): boolean => content.mediaType === '';

export const GUARDS = {
  /** A loss is recorded only if its row was not written since it was read. Else a late finder calls absent what is there again. */
  'etag-aba': ({ catalog }, withWrites) => {
    const onAny = withWrites(onAnyCommit);
    return { catalog: { ...catalog, recordLoss: (...args) => onAny.recordLoss(...args) } };
  },

  /** The epoch is read before the rows of the content. Else a root that is known is published over a loss that came between. */
  'known-root-race': ({ catalog }) => ({
    catalog: {
      ...catalog,
      async publish(publication, lock, signal) {
        const epoch = await catalog.readEpoch(publication.root.digest, signal);
        return await catalog.publish({ ...publication, epoch }, lock, signal);
      },
    },
  }),

  /** Content that is in the store is taken as present, whatever its row says. */
  'restored-object': ({ catalog }) => ({
    catalog: {
      ...catalog,
      async recordBlob(record, signal) {
        return isAdopted(record) || (await catalog.recordBlob(record, signal));
      },
    },
  }),

  /** A loss moves the epoch of every root. Else images other than the one that noted it stay complete. */
  'lost-config': ({ catalog }, withWrites) => {
    const elsewhere = withWrites((write) =>
      isShard(write) ? { UpdateExpression: write.UpdateExpression!.replace('ADD epoch', 'ADD notTheEpoch') } : {},
    );
    return { catalog: { ...catalog, recordLoss: (...args) => elsewhere.recordLoss(...args) } };
  },

  /** What was found in the store is committed, or adopted, only on the row that was read before. Else a proof that took long commits what went meanwhile. */
  'old-head': ({ catalog, store }, withWrites) => {
    const onAny = withWrites(onAnyCommit);
    const ingested = new Set<Digest>();
    return {
      store: { ...store, begin: notingWhatItBrings(store, ingested) },
      catalog: {
        ...catalog,
        async commitBlob(claim, record, signal) {
          const isBrought = ingested.delete(record.content.digest);
          return await (isBrought ? catalog : onAny).commitBlob(claim, record, signal);
        },
        async recordBlob(record, signal) {
          return await (isAdopted(record) ? onAny : catalog).recordBlob(record, signal);
        },
      },
    };
  },

  /** A deletion leaves a new commit also on a row that says absent. Else whoever had a 200 for his PUT commits what was deleted since. */
  'deleted-after-put': ({ catalog }) => ({
    catalog: {
      ...catalog,
      recordLoss: (rows, signal) =>
        catalog.recordLoss(
          rows.filter(({ state }) => state === 'present'),
          signal,
        ),
    },
  }),

  /** What a pull saw is remembered only with the epoch of that time. Else one tag's pull dates it by what another's saw later. */
  'two-tags': ({ catalog }) => ({
    catalog: {
      ...catalog,
      async publish(publication, lock, signal) {
        const { reference, root, epoch } = publication;
        const { stamp = 0 } = await catalog.findRoot(reference.repository, root.digest, signal);
        const dated = stamp > epoch ? { ...publication, epoch: stamp, stamp } : publication;
        return await catalog.publish(dated, lock, signal);
      },
    },
  }),

  /** A newer date replaces the set by what was seen at it. Else a publish of arm64 dates amd64, at which nobody looked. */
  're-dated': (_, withWrites) => ({
    catalog: withWrites(({ UpdateExpression: update = '' }) => {
      const replaced = 'complete = :complete, stamp = :epoch';
      if (!update.includes(replaced)) return {};
      return { UpdateExpression: `${update.replace(replaced, 'stamp = :epoch')} ADD complete :complete` };
    }),
  }),
} satisfies Record<string, Change>;

export type Guard = keyof typeof GUARDS;

function notingWhatItBrings(store: ContentStore, ingested: Set<Digest>): ContentStore['begin'] {
  return async (content, ...rest) => {
    const ingest = await store.begin(content, ...rest);
    return {
      offset: ingest.offset,
      write: (chunk) => ingest.write(chunk),
      async commit() {
        const stored = await ingest.commit();
        ingested.add(content.digest);
        return stored;
      },
      abort: () => ingest.abort(),
      suspend: () => ingest.suspend(),
      checkpoint: () => ingest.checkpoint(),
      [Symbol.asyncDispose]: () => ingest[Symbol.asyncDispose](),
    };
  };
}

/** The product as it is. */
export const ALL_GUARDS: Change = () => ({});
