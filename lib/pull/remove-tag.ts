import type { Catalog } from '../catalog/catalog.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import { DeadlineError, LeaseHeldError } from '../errors/cache-error.ts';
import { acquire } from '../lock/acquire.ts';
import type { Lease, Leases } from '../lock/lease.ts';
import { formatReference, pointerOf, type Reference } from '../reference/reference.ts';
import type { RefRecords } from '../store/content-store.ts';

export interface RemoveTagDeps {
  readonly catalog: Pick<Catalog, 'find' | 'removeTag'>;
  readonly leases: Pick<Leases, 'tryAcquire'>;
  readonly refs: Pick<RefRecords, 'remove'>;
}

/**
 * Takes the tag (or the `@digest` pointer) out of the cache; its content stays, and so does every other pointer to it. False if nothing was published under it.
 *
 * Under the lock of its pulls, so that it never comes between the two writes of a publish. The record goes before the row: after a kill in between the
 * tag is still there, and removing it again ends it. The other way round a rebuild would bring back what is gone.
 *
 * @throws LeaseHeldError if a pull held the lock until the deadline; LeaseLostError, CatalogError, StoreError.
 */
export async function removeTag(deps: RemoveTagDeps, reference: Reference, deadline: AbortSignal): Promise<boolean> {
  // Before the lock: names that nobody ever pulled leave no rows behind.
  if (!(await isPublished(deps.catalog, reference, deadline))) return false;
  await using lock = await lockOf(deps.leases, reference, deadline);
  const signal = AbortSignal.any([deadline, lock.signal]);
  if (!(await isPublished(deps.catalog, reference, signal))) return false;
  const { registry, path } = reference.repository;
  await deps.refs.remove({ registry, path, pointer: pointerOf(reference) }, signal);
  await deps.catalog.removeTag(reference, lock, signal);
  return true;
}

async function isPublished(
  catalog: RemoveTagDeps['catalog'],
  reference: Reference,
  signal: AbortSignal,
): Promise<boolean> {
  const { pointer } = await catalog.find(reference, { consistent: true, signal });
  return pointer?.published !== undefined;
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
