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
 * Takes the tag (or the `@digest` pointer) out of the cache; its content stays, and so does every other pointer to it. False if nothing was published under it.
 *
 * Under the lock of its pulls, and a tombstone takes the place of the record: a publisher that lost the lock before it wrote its record is older than that, and brings
 * nothing back. The tombstone comes before the row: after a kill in between the tag is still there, and removing it again ends it. The other way round a
 * rebuild would bring back what is gone.
 *
 * @throws LeaseHeldError if a pull held the lock until the deadline; LeaseLostError, CatalogError, StoreError.
 */
export async function removeTag(deps: RemoveTagDeps, reference: Reference, deadline: AbortSignal): Promise<boolean> {
  // Before the lock: names that nobody ever pulled leave no rows behind.
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
