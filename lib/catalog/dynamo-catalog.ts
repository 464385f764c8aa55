import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CatalogError, LeaseLostError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { formatReference, parseReference, type Reference } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { StoredContent } from '../store/content-store.ts';
import type { Catalog, CachedReference, Found, Pointer, Publication } from './catalog.ts';
import {
  dynamoTable,
  isRefused,
  toAttributes,
  updateInput,
  type Item,
  type Refused,
  type Table,
  type Update,
} from './dynamo-table.ts';
import { blobFrom, contentsItem, digests, entryItem, linkFrom, pointerFrom, rootFrom, useFrom } from './items.ts';
import {
  blobKey,
  leaseKey,
  linkKey,
  NOBODY,
  REPO_PARTITION,
  repoKey,
  rootKey,
  rootLinkKey,
  SWEEP_KEY,
  tagKey,
  tagPartition,
  useKey,
  usePartition,
} from './keys.ts';

/** The lease behind the write is still ours. */
const STILL_HELD = 'holder = :holder AND generation = :generation';
/** The row is as it was read under the lock; only a holder of that lock writes it. */
const POINTER_UNCHANGED = 'attribute_not_exists(generation) OR generation = :seen';
/** No sweep decided meanwhile that something of this image may go. */
const EPOCH_UNCHANGED = 'attribute_not_exists(epoch) OR epoch = :epoch';
/** Nobody wrote the object anew since it was found to be gone or wrong. */
const SAME_OBJECT = 'attribute_not_exists(etag) OR etag = :seen';

const DAY_MS = 86_400_000;

/** The catalogue in one DynamoDB table; its layout is drawn in `keys.ts`. */
export function dynamoCatalog(options: { client: DynamoDBClient; table: string }): Catalog {
  const table = dynamoTable(options.client, options.table);
  return {
    ...reads(table),
    ...blobWrites(table),
    ...graphWrites(table),
    ...pointerWrites(table, options.table),
  };
}

function reads(table: Table) {
  const findRoot = async (
    repository: Reference['repository'],
    digest: Digest,
    consistent: boolean,
    signal: AbortSignal,
  ): Promise<Pick<Found, 'root' | 'linked'>> => {
    const keys = [rootKey(digest), rootLinkKey(repository, digest)];
    const rows = await table.getAll(keys, consistent, 'read a root', signal);
    const root = rows.find((row) => row['sk'] === 'ROOT');
    const link = rows.find((row) => row['sk'] !== 'ROOT');
    return {
      ...(root === undefined ? {} : { root: rootFrom(root) }),
      ...(link === undefined ? {} : { linked: digests(link['complete']) }),
    };
  };
  return {
    async find(reference, { consistent, signal }) {
      const row = await table.get(tagKey(reference), consistent, 'find a reference', signal);
      if (row === undefined) return {};
      const pointer = pointerFrom(row);
      if (pointer.published === undefined) return { pointer };
      return { pointer, ...(await findRoot(reference.repository, pointer.published, consistent, signal)) };
    },
    findRoot: (repository, digest, signal) => findRoot(repository, digest, true, signal),
    async findLinks(repository, wanted, signal) {
      const keys = wanted.map((digest) => linkKey(repository, digest));
      const rows = await table.getAll(keys, true, 'find links', signal);
      return new Map(rows.map(linkFrom).map((link) => [link.digest, link]));
    },
    async findBlobs(wanted, signal) {
      const rows = await table.getAll(wanted.map(blobKey), true, 'find blobs', signal);
      return new Map(rows.map(blobFrom).map((blob) => [blob.digest, blob]));
    },
    async readEpoch(signal) {
      const row = await table.get(SWEEP_KEY, true, 'read the sweep epoch', signal);
      return (row?.['epoch'] as number | undefined) ?? 0;
    },
    async findUses(digest, signal) {
      const uses = [];
      for await (const row of table.query(usePartition(digest), 'find uses', signal)) uses.push(useFrom(row));
      return uses;
    },
    async *images(signal) {
      for await (const repo of table.query(REPO_PARTITION, 'list repositories', signal)) {
        const { repository } = parseReference(repo['sk'] as string);
        for await (const row of table.query(tagPartition(repository), 'list tags', signal)) {
          const pointer = pointerFrom(row);
          if (pointer.published === undefined) continue;
          const sk = row['sk'] as string;
          const reference = sk.startsWith('@')
            ? { repository, digest: sk.slice(1) as Digest }
            : { repository, tag: sk };
          const image: CachedReference = {
            reference,
            pointer,
            ...(await findRoot(repository, pointer.published, false, signal)),
          };
          yield image;
        }
      }
    },
  } satisfies Partial<Catalog>;
}

function blobWrites(table: Table) {
  /** What a row says of content that is in the store. */
  const present = (
    content: Descriptor,
    stored: StoredContent,
    domains: readonly TrustDomain[],
  ): Omit<Update, 'key'> => ({
    update:
      'SET #state = :present, #size = :size, etag = :etag' +
      (stored.crc32 === undefined ? ' REMOVE crc32,' : ', crc32 = :crc32 REMOVE') +
      ' checkpoint, distrustedEtag ADD domains :domains',
    names: { '#state': 'state', '#size': 'size' },
    values: {
      ':present': 'present',
      ':size': content.size,
      ':etag': stored.etag,
      ':crc32': stored.crc32,
      ':domains': new Set(domains),
    },
  });
  return {
    async recordBlob(content, stored, domains, signal) {
      await table.update(
        { key: blobKey(content.digest), ...present(content, stored, domains) },
        'record content',
        signal,
      );
    },
    async commitBlob(claim, content, stored, domains, signal) {
      const row = present(content, stored, domains);
      const outcome = await table.update(
        {
          key: blobKey(content.digest),
          ...row,
          update: row.update.replace('SET ', 'SET holder = :nobody, committedBy = :holder, '),
          condition: STILL_HELD,
          values: { ...row.values, ...heldValues(claim), ':nobody': NOBODY },
        },
        'commit a blob',
        signal,
      );
      // A refusal by our own write is a success whose first answer was lost.
      if (isRefused(outcome) && outcome.row?.['committedBy'] !== claim.holder) throw lost(claim, 'commit a blob');
      claim.markReleased();
    },
    async saveCheckpoint(claim, digest, checkpoint, signal) {
      const outcome = await table.update(
        {
          key: blobKey(digest),
          update: 'SET checkpoint = :checkpoint',
          condition: STILL_HELD,
          values: { ':checkpoint': checkpoint, ...heldValues(claim) },
        },
        'save a checkpoint',
        signal,
      );
      if (isRefused(outcome)) throw lost(claim, 'save a checkpoint');
    },
    async markBlobLost(row, distrustedEtag, signal) {
      const outcome: Item | Refused = await table.update(
        {
          key: blobKey(row.digest),
          update:
            'SET #state = :absent' +
            (distrustedEtag === undefined ? '' : ', distrustedEtag = :distrusted') +
            ' REMOVE etag, crc32',
          condition: SAME_OBJECT,
          names: { '#state': 'state' },
          values: { ':absent': 'absent', ':seen': row.etag ?? NOBODY, ':distrusted': distrustedEtag },
        },
        'mark content as lost',
        signal,
      );
      return !isRefused(outcome);
    },
  } satisfies Partial<Catalog>;
}

function graphWrites(table: Table) {
  return {
    async writeLinks(repository, links, signal) {
      const rows = links.map(({ digest, mediaType, size }) => ({ ...linkKey(repository, digest), mediaType, size }));
      await table.putAll(
        [...rows, repoKey(repository)] as (Item & { pk: string; sk: string })[],
        'write links',
        signal,
      );
    },
    async writeUses(uses, signal) {
      const rows = uses.map((use) => useKey(use.digest, use.root, use.child) as Item & { pk: string; sk: string });
      await table.putAll(rows, 'write uses', signal);
    },
    async uncomplete(root, children, signal) {
      if (children.length === 0) return;
      await table.update(
        { key: rootKey(root), update: 'DELETE complete :children', values: { ':children': new Set(children) } },
        'take back completeness',
        signal,
      );
    },
  } satisfies Partial<Catalog>;
}

function pointerWrites(table: Table, tableName: string) {
  const stillHeld = (lock: Fence) => ({
    ConditionCheck: {
      TableName: tableName,
      Key: toAttributes(leaseKey(lock.name)),
      ConditionExpression: STILL_HELD,
      ExpressionAttributeValues: toAttributes(heldValues(lock)),
    },
  });
  return {
    async recordResolution(reference, resolved, checkedMs, lock, signal) {
      const moved: Update = {
        key: tagKey(reference),
        update: 'SET resolved = :resolved, checkedMs = :checkedMs',
        values: { ':resolved': resolved, ':checkedMs': checkedMs },
      };
      const reasons = await table.transact(
        [stillHeld(lock), { Update: updateInput(tableName, moved) }],
        'record a resolution',
        signal,
      );
      if (reasons !== undefined) throw lost(lock, 'record a resolution');
    },

    async publish(publication, lock, signal) {
      const pointer = nextPointer(publication);
      const updates = publicationUpdates(publication, pointer).map((update) => ({
        Update: updateInput(tableName, update),
      }));
      const epoch = {
        ConditionCheck: {
          TableName: tableName,
          Key: toAttributes(SWEEP_KEY),
          ConditionExpression: EPOCH_UNCHANGED,
          ExpressionAttributeValues: toAttributes({ ':epoch': publication.epoch }),
        },
      };
      const reasons = await table.transact([stillHeld(lock), epoch, ...updates], 'publish', signal);
      if (reasons === undefined) return pointer;
      if (reasons[1] === 'ConditionalCheckFailed' && reasons[0] !== 'ConditionalCheckFailed') {
        throw new CatalogError(
          'publish',
          `${formatReference(publication.reference)}: a sweep ran while this pull was under way; pull again`,
        );
      }
      throw lost(lock, 'publish');
    },
  } satisfies Partial<Catalog>;
}

/** What the pointer will be: `previous` keeps what was published before, as long as that was something else. */
function nextPointer({ root, pointer, checkedMs, publishedMs }: Publication): Pointer {
  const previous = pointer?.published === root.digest ? pointer.previous : pointer?.published;
  return {
    resolved: root.digest,
    checkedMs,
    published: root.digest,
    publishedMs,
    ...(previous === undefined ? {} : { previous }),
    generation: (pointer?.generation ?? 0) + 1,
  };
}

function publicationUpdates(publication: Publication, pointer: Pointer): Update[] {
  const { reference, root, publishedMs } = publication;
  const complete = new Set(publication.complete);
  const contents = contentsItem(publication.contents);
  return [
    {
      key: rootKey(root.digest),
      update:
        'SET mediaType = :mediaType, #size = :size, entries = if_not_exists(entries, :entries), usedDay = :usedDay ADD complete :complete' +
        (contents.size === 0 ? '' : ', contents :contents'),
      names: { '#size': 'size' },
      values: {
        ':mediaType': root.mediaType,
        ':size': root.size,
        ':entries': root.entries.map(entryItem),
        ':usedDay': Math.floor(publishedMs / DAY_MS),
        ':complete': complete,
        ':contents': contents.size === 0 ? undefined : contents,
      },
    },
    {
      key: rootLinkKey(reference.repository, root.digest),
      update: 'SET mediaType = :mediaType, #size = :size ADD complete :complete',
      names: { '#size': 'size' },
      values: { ':mediaType': root.mediaType, ':size': root.size, ':complete': complete },
    },
    {
      key: tagKey(reference),
      update:
        'SET resolved = :published, published = :published, publishedMs = :publishedMs, checkedMs = :checkedMs, generation = :next' +
        (pointer.previous === undefined ? '' : ', previous = :previous'),
      condition: POINTER_UNCHANGED,
      values: {
        ':published': root.digest,
        ':publishedMs': publishedMs,
        ':checkedMs': pointer.checkedMs,
        ':next': pointer.generation,
        ':seen': publication.pointer?.generation ?? 0,
        ':previous': pointer.previous,
      },
    },
  ];
}

const heldValues = (lease: Fence) => ({ ':holder': lease.holder, ':generation': lease.generation });

const lost = (lease: Fence, op: string): LeaseLostError =>
  new LeaseLostError(op, `lease ${lease.name} was taken over before we could ${op}; nothing was changed, pull again`);
