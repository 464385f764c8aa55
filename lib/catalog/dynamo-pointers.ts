import { CatalogError, ContentSweptError, LeaseLostError } from '../errors/cache-error.ts';
import { fenceValues, STILL_HELD } from '../lock/dynamo-lease.ts';
import type { Fence } from '../lock/fence.ts';
import type { Digest } from '../oci/digest.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import { TOMBSTONE_MS } from '../store/ref-record.ts';
import type { Pointer, Publication } from './catalog.ts';
import type { PointerWrites } from './ports.ts';
import { completeUpdate, epochUnchanged, seeWhole, seenBy, type Seen } from './dynamo-completeness.ts';
import type { ConditionCheck, Table, Update } from '../table/dynamo-table.ts';
import { contentsItem, entriesItem, foreignItem } from './items.ts';
import { bareEntries, isTyped, skippedAfter, talliesOf } from './needs.ts';
import { leaseKey, pullLeaseName, rootKey, rootLinkKey, tagKey } from '../table/keys.ts';

/** No other resolution was recorded since the row was read: an older answer never replaces a newer one, and no clock decides. */
const noneSince = (pointer: Pointer | undefined): string =>
  pointer?.resolutions === undefined ? 'attribute_not_exists(resolutions)' : 'resolutions = :resolutions';

/** The row is as it was read under the lock. */
const unchanged = (pointer: Pointer | undefined): string =>
  `(attribute_not_exists(generation) OR generation = :seen) AND ${noneSince(pointer)}`;

/** The name never meant anything: then its row expires. */
const MEANT_NOTHING =
  'attribute_not_exists(resolved) AND attribute_not_exists(published) AND attribute_not_exists(removedMs)';

const DAY_MS = 86_400_000;
const MISSING_ROW_SECONDS = 86_400;
/**
 * Twice as long as the tombstone in the bucket counts (lib/store/ref-record.ts): so a later publish is newer
 * than the tombstone.
 */
const REMOVED_ROW_SECONDS = (2 * TOMBSTONE_MS) / 1000;

/** Changes what references mean. Every write but confirmRecord holds only under the lock of the reference. */
export function pointerWrites(table: Table): PointerWrites {
  return {
    async recordResolution(reference, { resolved, checkedMs, pointer }, lock, signal) {
      const now = { resolved, checkedMs, resolutions: (pointer?.resolutions ?? 0) + 1, resolvedBy: lock.holder };
      const moved: Update = {
        key: tagKey(reference),
        update:
          'SET resolved = :resolved, checkedMs = :checkedMs, resolutions = :next, resolvedBy = :resolvedBy REMOVE missingMs, removedMs, expiresSeconds',
        condition: noneSince(pointer),
        values: {
          ':resolved': resolved,
          ':checkedMs': checkedMs,
          ':next': now.resolutions,
          ':resolvedBy': now.resolvedBy,
          ':resolutions': pointer?.resolutions,
        },
      };
      const failed = await table.transact([stillHeld(reference, lock), moved], 'record a resolution', signal);
      if (failed?.[0] === true) throw lost(lock, 'record a resolution');
      if (failed !== undefined) return undefined;
      const { missingMs: _, removedMs: __, ...rest } = pointer ?? { generation: 0 };
      return { ...rest, ...now };
    },

    async recordMissing(reference, missingMs, lock, signal) {
      const op = 'record a missing name';
      const key = tagKey(reference);
      const missing: Update = { key, update: 'SET missingMs = :missingMs', values: { ':missingMs': missingMs } };
      const passing: Update = {
        key,
        update: `${missing.update}, expiresSeconds = :expiresSeconds`,
        condition: MEANT_NOTHING,
        values: { ...missing.values, ':expiresSeconds': Math.ceil(missingMs / 1000) + MISSING_ROW_SECONDS },
      };
      const [lockFailed, meansSomething] =
        (await table.transact([stillHeld(reference, lock), passing], op, signal)) ?? [];
      if (lockFailed === true) throw lost(lock, op);
      if (meansSomething !== true) return;
      if ((await table.transact([stillHeld(reference, lock), missing], op, signal)) !== undefined) throw lost(lock, op);
    },

    async removeTag(reference, lock, signal) {
      const nowMs = Date.now();
      const removal: Update = {
        key: tagKey(reference),
        update:
          'SET removedMs = :nowMs, expiresSeconds = :expiresSeconds REMOVE resolved, checkedMs, resolvedBy, published, publishedMs, publishedBy, previous, missingMs, recorded',
        condition: 'attribute_exists(pk)',
        values: { ':nowMs': nowMs, ':expiresSeconds': Math.ceil(nowMs / 1000) + REMOVED_ROW_SECONDS },
      };
      const failed = await table.transact([stillHeld(reference, lock), removal], 'remove a tag', signal);
      if (failed?.[0] === true) throw lost(lock, 'remove a tag');
    },

    async confirmRecord(reference, { incarnation, generation }, signal) {
      await table.update(
        {
          key: tagKey(reference),
          update: 'SET recorded = :generation, incarnation = :incarnation',
          condition: 'generation = :generation AND attribute_exists(published)',
          values: { ':generation': generation, ':incarnation': incarnation },
        },
        'confirm a record',
        signal,
      );
    },

    async publish(publication, lock, signal) {
      const pointer = nextPointer(publication, lock);
      const root = rootUpdate(publication);
      // Written before the transaction: it is too large for that, and invisible until the pointer names it.
      if (root !== undefined) await table.update(root, 'write a root', signal);
      const { digest } = publication.root;
      for (let seen = seenBy(publication); ;) {
        const writes = [
          stillHeld(publication.reference, lock),
          pointerUpdate(publication, pointer),
          epochUnchanged(digest, seen.epoch),
          ...(isRemembered(publication, seen) ? [] : [completeUpdate(seen)]),
          ...(isLinked(publication) ? [] : [rootLinkUpdate(publication)]),
        ];
        const failed = await table.transact(writes, 'publish', signal);
        if (failed === undefined) return pointer;
        const [lockFailed, pointerFailed] = failed;
        if (lockFailed === true) throw lost(lock, 'publish');
        if (pointerFailed === true) throw notAsRead(publication);
        // Content was lost, perhaps of other roots: read again what this publication needs.
        seen = await seeWhole(table, digest, publication.complete, bareOf(publication), signal);
        if (seen.whole.size < new Set(publication.complete).size) throw swept(publication);
      }
    },
  };
}

/** Checks the row of the reference's own lock, whatever `lock.name` is. */
const stillHeld = (reference: Reference, lock: Fence): ConditionCheck => ({
  key: leaseKey(pullLeaseName(reference)),
  condition: STILL_HELD,
  values: fenceValues(lock),
});

const notAsRead = ({ reference }: Publication): CatalogError =>
  new CatalogError(
    'publish',
    `${formatReference(reference)}: its pointer changed under the lock; nothing was written, pull again`,
  );

const swept = ({ reference }: Publication): ContentSweptError =>
  new ContentSweptError(
    'publish',
    `${formatReference(reference)}: content of it was lost while this pull was under way; pull again`,
  );

/** By what this pull read, and by what was known of the root before. */
function bareOf({ root, contents, foreign, known }: Publication): ReadonlyMap<Digest, unknown> {
  const own = talliesOf(contents);
  return bareEntries({
    entries: root.entries,
    contents: { get: (entry) => own.get(entry) ?? known?.root?.contents.get(entry) },
    foreign: [...foreign, ...(known?.root?.foreign ?? [])],
  });
}

/** All of it is in the remembered set, and the set is current. */
const isRemembered = ({ known, complete, epoch: first }: Publication, { stamp, epoch }: Seen): boolean =>
  stamp === epoch && epoch === first && complete.every((digest) => known?.root?.complete.has(digest) === true);

/** The root's link of this repository has all of it already. */
const isLinked = (publication: Publication): boolean =>
  publication.complete.every((digest) => publication.known?.linked?.has(digest) === true) &&
  skippedBy(publication) === undefined;

/** What the registry lacks, to be written in the root's link; undefined if it does not change. */
function skippedBy({ known, complete, skipped = [] }: Publication): ReadonlySet<Digest> | undefined {
  const before = known?.skipped ?? new Set();
  const after = skippedAfter(before, complete, skipped);
  return after.size === before.size && [...after].every((digest) => before.has(digest)) ? undefined : after;
}

const lost = (lock: Fence, op: string): LeaseLostError =>
  new LeaseLostError(op, `lease ${lock.name} was taken over before we could ${op}; nothing was changed, pull again`);

/** The new pointer. `previous` is the last other root that was published. */
function nextPointer(
  { root, pointer, checkedMs, publishedMs, incarnation, generation }: Publication,
  { holder }: Fence,
): Pointer {
  const previous = pointer?.published === root.digest ? pointer.previous : pointer?.published;
  return {
    resolved: root.digest,
    checkedMs,
    published: root.digest,
    publishedMs,
    publishedBy: holder,
    ...(previous === undefined ? {} : { previous }),
    generation: generation ?? (pointer?.generation ?? 0) + 1,
    ...(incarnation === undefined ? {} : { incarnation }),
    ...(generation === undefined ? {} : { recorded: generation }),
    ...(pointer?.resolutions === undefined ? {} : { resolutions: pointer.resolutions }),
    // If a rebuild publishes something else than the last resolution, no one asked the upstream for it.
    ...(pointer?.resolvedBy === undefined || pointer.resolved !== root.digest
      ? {}
      : { resolvedBy: pointer.resolvedBy }),
  };
}

function pointerUpdate({ reference, pointer: seen }: Publication, pointer: Pointer): Update {
  const { published, publishedMs, publishedBy, checkedMs, generation, previous, incarnation, recorded } = pointer;
  const set = Object.entries({
    resolved: published,
    published,
    publishedMs,
    publishedBy,
    checkedMs,
    generation,
    previous,
    incarnation,
    recorded,
  });
  const given = set.filter(([, value]) => value !== undefined);
  const gone = [
    'missingMs',
    'removedMs',
    'expiresSeconds',
    ...['resolvedBy', 'incarnation'].filter((name) => !(name in pointer)),
  ];
  return {
    key: tagKey(reference),
    update: `SET ${given.map(([name]) => `${name} = :${name}`).join(', ')} REMOVE ${gone.join(', ')}`,
    condition: unchanged(seen),
    values: {
      ...Object.fromEntries(given.map(([name, value]) => [`:${name}`, value])),
      ':seen': seen?.generation ?? 0,
      ':resolutions': seen?.resolutions,
    },
  };
}

/** Undefined if the row would not change. */
function rootUpdate({ root, contents, foreign, publishedMs, known }: Publication): Update | undefined {
  const own = talliesOf(contents);
  const typed = new Set(root.entries.filter(isTyped).map(({ digest }) => digest));
  // For an entry without a type, another registry may have decided otherwise: then both are kept (see bareEntries).
  const isSame = (entry: Digest): boolean => {
    const [now, before] = [own.get(entry), known?.root?.contents.get(entry)];
    return now?.length === before?.length && now?.[0]?.id === before?.[0]?.id;
  };
  const isUnknown = (entry: Digest): boolean =>
    known?.root?.contents.get(entry) === undefined || (!typed.has(entry) && !isSame(entry));
  const tallies = contentsItem(new Map([...contents].filter(([entry]) => isUnknown(entry))), root.entries.length);
  const leftOut = foreignItem(
    foreign.filter(({ entry }) => isUnknown(entry)),
    root.entries.length,
  );
  if (known?.root !== undefined && tallies.size === 0 && leftOut.size === 0) return undefined;
  const added = [
    ...(tallies.size === 0 ? [] : ['contents :contents']),
    ...(leftOut.size === 0 ? [] : ['#foreign :foreign']),
  ];
  return {
    key: rootKey(root.digest),
    update:
      'SET mediaType = :mediaType, #size = :size, entries = if_not_exists(entries, :entries), usedDay = :usedDay' +
      (added.length === 0 ? '' : ` ADD ${added.join(', ')}`),
    names: { '#size': 'size', ...(leftOut.size === 0 ? {} : { '#foreign': 'foreign' }) },
    values: {
      ':mediaType': root.mediaType,
      ':size': root.size,
      ':entries': entriesItem(root.entries),
      ':usedDay': Math.floor(publishedMs / DAY_MS),
      ':contents': tallies.size === 0 ? undefined : tallies,
      ':foreign': leftOut.size === 0 ? undefined : leftOut,
    },
  };
}

function rootLinkUpdate(publication: Publication): Update {
  const { reference, root, complete } = publication;
  const skipped = skippedBy(publication);
  // DynamoDB has no empty sets.
  const isNone = skipped?.size === 0;
  return {
    key: rootLinkKey(reference.repository, root.digest),
    update: [
      'SET mediaType = :mediaType, #size = :size',
      ...(skipped === undefined ? [] : [isNone ? ' REMOVE skipped' : ', skipped = :skipped']),
      ' ADD complete :complete',
    ].join(''),
    names: { '#size': 'size' },
    values: {
      ':mediaType': root.mediaType,
      ':size': root.size,
      ':complete': new Set(complete),
      ':skipped': isNone ? undefined : skipped,
    },
  };
}
