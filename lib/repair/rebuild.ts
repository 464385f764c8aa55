import type { FoundRoot, Pointer, Publication } from '../catalog/catalog.ts';
import type { Catalog } from '../catalog/ports.ts';
import { blobEntries, withNeeders } from '../catalog/needs.ts';
import { CacheError } from '../errors/cache-error.ts';
import { acquire, type Leases } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import { nameOf, raiseIncarnation } from '../pull/ref-order.ts';
import { foreignOf } from '../pull/skipped.ts';
import { formatReference, parseReference, type Reference } from '../reference/reference.ts';
import type { ContentStore, FoundRefRecord, RefRecord, RefRecords, RefTombstone } from '../store/content-store.ts';
import { compareOrder, isOver } from '../store/ref-record.ts';
import { pullLeaseName } from '../table/keys.ts';
import { readTree, type StoredTree } from './stored-tree.ts';

export interface RebuildDeps {
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly refs: RefRecords;
  readonly leases: Leases;
  readonly limits: PullLimits;
}

/** The result for one record. */
export type RebuiltReference =
  /**
   * `rebuilt`: all of the record. `partly`: some of its content is not in the bucket. `kept`: the table has
   * something as new or newer. `gone`: removed meanwhile. `removed`: by its tombstone, it was removed after
   * what the table has.
   */
  | {
      readonly outcome: 'rebuilt' | 'partly' | 'kept' | 'gone' | 'removed';
      readonly reference: string;
      readonly lost: number;
    }
  /** The record cannot be used: its key, and why. */
  | { readonly outcome: 'skipped'; readonly key: string; readonly problem: string };

/**
 * Rebuilds the rows of every record under `refs/` from the bucket alone, without a registry. Safe while pulls
 * run and tags are removed, and may be repeated: each reference is written under its lock, from the record of
 * that moment, and only if the table has nothing as new or newer (by incarnation and generation). The table
 * takes its next incarnation first. Tombstones that are older than any writer lives are removed.
 *
 * Rows that another version of Entrepot wrote are removed first: this one cannot read them.
 *
 * Links are written because the record is the proof that the repository had what it lists (I9). A blob row
 * gets the trust domain in the object's metadata; other domains must prove again that they have it.
 *
 * @throws CacheError if bucket or table fail; what is done stays, and the next call continues.
 */
export async function* rebuild(deps: RebuildDeps, signal: AbortSignal): AsyncGenerator<RebuiltReference> {
  await deps.catalog.removeOtherVersions(signal);
  await raiseIncarnation(deps, signal);
  for await (const found of deps.refs.list(signal)) {
    const one =
      found.tombstone === undefined
        ? await rebuildOne(deps, found, signal)
        : await removeAgain(deps, found.key, found.tombstone, signal);
    if (one !== undefined) yield one;
  }
}

/** Removes what the table has from before the tombstone, perhaps from a backup. Undefined if there is nothing to remove. */
async function removeAgain(
  deps: RebuildDeps,
  key: string,
  tombstone: RefTombstone,
  signal: AbortSignal,
): Promise<RebuiltReference | undefined> {
  await deps.refs.forget(key, signal);
  const reference = referenceOf(tombstone);
  if (reference === undefined) return { outcome: 'skipped', key, problem: 'does not name a normalised reference' };
  const isOutdated = async (): Promise<boolean> => {
    const pointer = await deps.catalog.findPointer(reference, { consistent: true, signal });
    return pointer?.published !== undefined && compareOrder(pointer, tombstone) <= 0;
  };
  if (isOver(tombstone, Date.now()) || !(await isOutdated())) return undefined;
  await using lock = await acquire(deps.leases, pullLeaseName(reference), signal);
  if (!(await isOutdated())) return undefined;
  await deps.catalog.removeTag(reference, lock, AbortSignal.any([signal, lock.signal]));
  return { outcome: 'removed', reference: tombstone.reference, lost: 0 };
}

function referenceOf({ reference: name }: RefTombstone): Reference | undefined {
  try {
    const reference = parseReference(name);
    return formatReference(reference) === name ? reference : undefined;
  } catch (error) {
    if (error instanceof CacheError) return undefined;
    throw error;
  }
}

async function rebuildOne(deps: RebuildDeps, found: FoundRefRecord, signal: AbortSignal): Promise<RebuiltReference> {
  const { key, record } = found;
  const skipped = (problem: string): RebuiltReference => ({ outcome: 'skipped', key, problem });
  if (record === undefined) return skipped(found.problem ?? 'is not a record');
  try {
    const reference = parseReference(record.reference);
    if (formatReference(reference) !== record.reference) return skipped('does not name a normalised reference');
    return (await rebuildReference(deps, reference, signal)) ?? skipped('is not complete in the bucket; pull it again');
  } catch (error) {
    signal.throwIfAborted();
    // An error that is not retryable concerns this record alone: an invalid manifest or name.
    if (error instanceof CacheError && !error.retryable && error.origin !== 'catalog' && error.origin !== 'store') {
      return skipped(error.message);
    }
    throw error;
  }
}

/** Undefined if not even the root is complete in the bucket. */
async function rebuildReference(
  deps: RebuildDeps,
  reference: Reference,
  signal: AbortSignal,
): Promise<RebuiltReference | undefined> {
  const name = formatReference(reference);
  await using lock = await acquire(deps.leases, pullLeaseName(reference), signal);
  const held = AbortSignal.any([signal, lock.signal]);
  const { pointer } = await deps.catalog.find(reference, { consistent: true, signal: held });
  // Read again: it may have been removed or published while we waited for the lock.
  const record = await deps.refs.find(nameOf(reference), held);
  if (record === undefined) return { outcome: 'gone', reference: name, lost: 0 };
  const isKnown = pointer?.published !== undefined || pointer?.removedMs !== undefined;
  if (isKnown && compareOrder(pointer, record) >= 0) {
    return { outcome: 'kept', reference: name, lost: 0 };
  }
  const found = await deps.catalog.findRoot(reference.repository, record.digest, held);
  const tree = await readTree(deps, record, held);
  if (tree?.complete.includes(record.digest) !== true) return undefined;
  const blobs = new Set(blobEntries(tree.contents));
  const layers = foreignOf(tree);
  const isManifest = (digest: Digest): boolean =>
    tree.complete.includes(digest) && !layers.has(digest) && !blobs.has(digest);
  const links = tree.content.map((descriptor) => ({
    ...descriptor,
    ...(isManifest(descriptor.digest) ? { landed: true } : {}),
  }));
  await deps.catalog.writeLinks(
    reference.repository,
    withNeeders(links, { root: record.digest, contents: tree.contents, foreign: tree.foreign }),
    held,
  );
  await deps.catalog.publish(publication(reference, record, tree, pointer, found), lock, held);
  return { outcome: tree.lost === 0 ? 'rebuilt' : 'partly', reference: name, lost: tree.lost };
}

function publication(
  reference: Reference,
  { digest, mediaType, size, skipped = [], publishedMs, incarnation, generation }: RefRecord,
  tree: StoredTree,
  pointer: Pointer | undefined,
  { epoch, stamp }: FoundRoot,
): Publication {
  return {
    reference,
    root: { digest, mediaType, size, entries: tree.entries },
    complete: tree.complete,
    contents: tree.contents,
    foreign: tree.foreign,
    skipped,
    pointer,
    // The record's own order, so that later publishes count as newer.
    generation,
    ...(incarnation === undefined ? {} : { incarnation }),
    checkedMs: publishedMs,
    publishedMs,
    epoch,
    stamp,
  };
}
