import type { Pointer } from '../catalog/catalog.ts';
import { DeadlineError, LeaseHeldError } from '../errors/cache-error.ts';
import { acquire, type Lease, type Leases } from '../lock/lease.ts';
import { nextIncarnation, recordedName, type RefDeps, writeInOrder } from '../pull/ref-order.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import { pullLeaseName } from '../table/keys.ts';

export interface RemoveTagDeps {
  readonly catalog: RefDeps['catalog'];
  readonly leases: Pick<Leases, 'tryAcquire'>;
  readonly refs: RefDeps['refs'];
}

/**
 * Removes the tag (or the `@digest` pointer) from the cache. Its content stays, and so does every other
 * pointer to it. False if nothing was published under it.
 *
 * Runs under the lock of its pulls. A tombstone replaces the record, so that a late publisher that lost the
 * lock cannot restore it. The tombstone is written before the row: after a kill in between, the tag is still
 * there and can be removed again. The other way round, a rebuild would restore the tag.
 *
 * @throws LeaseHeldError if a pull held the lock until the deadline; LeaseLostError, CatalogError,
 * StoreError.
 */
export async function removeTag(deps: RemoveTagDeps, reference: Reference, deadline: AbortSignal): Promise<boolean> {
  // Before the lock, so that unknown names leave no rows behind.
  if ((await findPublished(deps.catalog, reference, deadline)) === undefined) return false;
  await using lock = await lockOf(deps.leases, reference, deadline);
  const signal = AbortSignal.any([deadline, lock.signal]);
  const pointer = await findPublished(deps.catalog, reference, signal);
  if (pointer === undefined) return false;
  const incarnation = await nextIncarnation(deps, pointer, signal);
  const { generation } = pointer;
  const tombstone = { reference: recordedName(reference), removedMs: Date.now(), incarnation, generation };
  await writeInOrder(deps, reference, tombstone, signal);
  await deps.catalog.removeTag(reference, lock, signal);
  return true;
}

async function findPublished(
  catalog: RemoveTagDeps['catalog'],
  reference: Reference,
  signal: AbortSignal,
): Promise<Pointer | undefined> {
  const pointer = await catalog.findPointer(reference, { consistent: true, signal });
  return pointer?.published === undefined ? undefined : pointer;
}

async function lockOf(leases: RemoveTagDeps['leases'], reference: Reference, deadline: AbortSignal): Promise<Lease> {
  try {
    return await acquire(leases, pullLeaseName(reference), deadline);
  } catch (error) {
    if (!deadline.aborted || !(error instanceof DeadlineError)) throw error;
    throw new LeaseHeldError(
      'remove a tag',
      `${formatReference(reference)} is being pulled, and was not removed; ask again when that pull has ended`,
    );
  }
}
