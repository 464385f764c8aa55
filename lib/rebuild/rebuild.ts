import type { Catalog, Pointer, Publication } from '../catalog/catalog.ts';
import { pullLeaseName } from '../catalog/keys.ts';
import { withNeeders } from '../catalog/needs.ts';
import { CacheError } from '../errors/cache-error.ts';
import { acquire } from '../lock/acquire.ts';
import type { Leases } from '../lock/lease.ts';
import { formatReference, parseReference, pointerOf, type Reference } from '../reference/reference.ts';
import type { ContentStore, FoundRefRecord, RefRecord, RefRecords } from '../store/content-store.ts';
import { allOrFirstFailure, limiter } from '../pull/limiter.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import { readTree, type StoredTree } from './stored-tree.ts';

const PARALLEL_ROWS = 8;

export interface RebuildDeps {
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly refs: RefRecords;
  readonly leases: Leases;
  readonly limits: PullLimits;
}

/** What became of one record. */
export type RebuiltReference =
  /** `rebuilt`: as the record says. `partly`: some of what it calls complete is not in the bucket. `kept`: the table knows something as new or newer. `gone`: removed meanwhile. */
  | {
      readonly outcome: 'rebuilt' | 'partly' | 'kept' | 'gone';
      readonly reference: string;
      readonly lost: number;
    }
  /** Nothing of it can be used: the key of the record, and why. */
  | { readonly outcome: 'skipped'; readonly key: string; readonly problem: string };

/**
 * Makes the rows of every record under `refs/` again, from the bucket alone: no registry is asked. Safe while pulls run and tags are removed, and may be repeated:
 * each reference is written under its lock, by the record that is there then, and what the table knows as new or newer stands.
 *
 * Links are made again because the record is the proof that the repository had what it lists (I9). A blob row gets back the trust domain that the object names; others that
 * proved to hold it will prove it again.
 *
 * @throws CacheError where bucket or table fail; what is done stays, and the next call goes on.
 */
export async function* rebuild(deps: RebuildDeps, signal: AbortSignal): AsyncGenerator<RebuiltReference> {
  for await (const found of deps.refs.list(signal)) yield await rebuildOne(deps, found, signal);
}

async function rebuildOne(deps: RebuildDeps, found: FoundRefRecord, signal: AbortSignal): Promise<RebuiltReference> {
  const { key, record } = found;
  const skipped = (problem: string): RebuiltReference => ({ outcome: 'skipped', key, problem });
  if (record === undefined) return skipped(found.problem);
  try {
    const reference = parseReference(record.reference);
    if (formatReference(reference) !== record.reference) return skipped('names no normalised reference');
    return (await rebuildReference(deps, reference, signal)) ?? skipped('is not whole in the bucket; pull it again');
  } catch (error) {
    signal.throwIfAborted();
    // What no later try can mend is wrong with this record alone: a manifest or a name that is none.
    if (error instanceof CacheError && !error.retryable && error.origin !== 'catalog' && error.origin !== 'store') {
      return skipped(error.message);
    }
    throw error;
  }
}

/** Undefined where not even the root is there with all its content. */
async function rebuildReference(
  deps: RebuildDeps,
  reference: Reference,
  signal: AbortSignal,
): Promise<RebuiltReference | undefined> {
  const name = formatReference(reference);
  await using lock = await acquire(deps.leases, pullLeaseName(reference), signal);
  const held = AbortSignal.any([signal, lock.signal]);
  const { pointer } = await deps.catalog.find(reference, { consistent: true, signal: held });
  // Read again: what was listed may have been removed, or published anew, while we waited for the lock.
  const { registry, path } = reference.repository;
  const record = await deps.refs.find({ registry, path, pointer: pointerOf(reference) }, held);
  if (record === undefined) return { outcome: 'gone', reference: name, lost: 0 };
  // Generations would not tell: a new table counts from the start. What was published is as new as it says, as for the records themselves.
  if (pointer?.published !== undefined && (pointer.publishedMs ?? 0) >= record.publishedMs) {
    return { outcome: 'kept', reference: name, lost: 0 };
  }
  const epoch = await deps.catalog.readEpoch(held);
  const tree = await readTree(deps, record, held);
  if (tree?.complete.includes(record.digest) !== true) return undefined;
  const places = limiter(PARALLEL_ROWS);
  await allOrFirstFailure(tree.content, held, ({ descriptor, stored }, stop) =>
    places.run(() => {
      const domains = stored.domain === undefined ? [] : [stored.domain];
      return deps.catalog.recordBlob(descriptor, stored, domains, stop);
    }),
  );
  const links = tree.content.map(({ descriptor }) => ({
    ...descriptor,
    ...(tree.complete.includes(descriptor.digest) ? { landed: true } : {}),
  }));
  await deps.catalog.writeLinks(reference.repository, withNeeders(links, tree.uses), held);
  await deps.catalog.writeUses(tree.uses, held);
  await deps.catalog.publish(publication(reference, record, tree, pointer, epoch), lock, held);
  return { outcome: tree.lost === 0 ? 'rebuilt' : 'partly', reference: name, lost: tree.lost };
}

function publication(
  reference: Reference,
  { digest, mediaType, size, publishedMs, generation }: RefRecord,
  tree: StoredTree,
  pointer: Pointer | undefined,
  epoch: number,
): Publication {
  return {
    reference,
    root: { digest, mediaType, size, entries: tree.entries },
    complete: tree.complete,
    contents: tree.contents,
    foreign: tree.foreign,
    // The next generation is the record's own, so that what was published later is known to be newer.
    pointer: pointer ?? { generation: generation - 1 },
    checkedMs: publishedMs,
    publishedMs,
    epoch,
  };
}
