import type { Found, Pointer } from '../catalog/catalog.ts';
import type { Pointers, PointerWrites, TableIdentity } from '../catalog/ports.ts';
import { bareEntries, type BareKind } from '../catalog/needs.ts';
import { CacheError, StoreError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatReference, pointerOf, type Reference } from '../reference/reference.ts';
import type { RefName, RefOrder, RefRecord, RefRecords, RefTombstone } from '../store/content-store.ts';

/*
 * The records under refs/, from which a rebuild makes the table, in the order of the table: incarnation, then generation.
 *
 *   bucket  refs/incarnation.json   n      a table that has no incarnation takes n + 1, by compare-and-swap
 *   table   INCARNATION             n      and keeps it; each process reads it once
 *
 * A table that was restored from a backup has an old incarnation and old generations. The first writer that finds a record newer than the table notices, and then
 * the table takes the next incarnation. A rebuild always takes one.
 */

export interface RefDeps {
  readonly catalog: Pointers & PointerWrites & TableIdentity;
  readonly refs: Pick<RefRecords, 'write' | 'find' | 'raiseIncarnation'>;
}

const WRITE_TRIES = 3;

/** The incarnation of the table; a table without one takes the next of its bucket. */
async function incarnationOf(deps: RefDeps, signal: AbortSignal): Promise<number> {
  return (await deps.catalog.readIncarnation({ fresh: false, signal })) ?? (await raiseIncarnation(deps, signal));
}

/** From now on, whatever the table records is newer than all records before. */
export async function raiseIncarnation({ catalog, refs }: RefDeps, signal: AbortSignal): Promise<number> {
  const before = await catalog.readIncarnation({ fresh: true, signal });
  return await catalog.writeIncarnation(await refs.raiseIncarnation(before ?? 0, signal), signal);
}

/** Never below the incarnation of the last publish: this process may have read the table's own long ago. */
export async function nextIncarnation(
  deps: RefDeps,
  pointer: Pointer | undefined,
  signal: AbortSignal,
): Promise<number> {
  return Math.max(pointer?.incarnation ?? 0, await incarnationOf(deps, signal));
}

/**
 * Writes the record or tombstone unless there is a newer one. If there is, and the table has moved on, too,
 * this write is late and is dropped. If the table has not, the table was restored, and takes its next
 * incarnation. Returns the order that was written; undefined if the write was late.
 *
 * @throws StoreError, CatalogError
 */
export async function writeInOrder(
  deps: RefDeps,
  reference: Reference,
  entry: RefRecord | RefTombstone,
  signal: AbortSignal,
): Promise<Required<RefOrder> | undefined> {
  const { generation } = entry;
  let { incarnation = 0 } = entry;
  for (let tries = 1; tries <= WRITE_TRIES; tries++) {
    if (await deps.refs.write(nameOf(reference), { ...entry, incarnation }, signal)) return { incarnation, generation };
    const pointer = await deps.catalog.findPointer(reference, { consistent: true, signal });
    if (pointer?.published === undefined || pointer.generation !== generation) return undefined;
    const now = (await deps.catalog.readIncarnation({ fresh: true, signal })) ?? 0;
    incarnation = now > incarnation ? now : await raiseIncarnation(deps, signal);
  }
  throw new StoreError(
    'write ref record',
    `${formatReference(reference)}: newer records came ${WRITE_TRIES} times; more than one table seems to be in use with this bucket`,
  );
}

/**
 * Writes the record of what is published, unless the table knows that the bucket has it: a publisher may have
 * died, or failed, before its record. Returns why it could not be written, and does not throw for that: what
 * is published is served all the same.
 */
export async function ensureRecorded(
  deps: RefDeps,
  reference: Reference,
  { pointer, root, linked, skipped }: Found,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (pointer?.published === undefined || root === undefined || pointer.recorded === pointer.generation) {
    return undefined;
  }
  const complete = [...(linked ?? [])].filter((entry) => root.complete.has(entry));
  const { generation, publishedMs = 0 } = pointer;
  return await failureOfRecord(signal, async () => {
    const incarnation = await nextIncarnation(deps, pointer, signal);
    const content = recordOf(reference, root, complete, bareEntries(root), skipped);
    const record = { ...content, publishedMs, generation, incarnation };
    await recordOnce(deps, reference, pointer, record, signal);
  });
}

/** Writes the record, unless it is there already. */
async function recordOnce(
  deps: RefDeps,
  reference: Reference,
  pointer: Pointer,
  record: RefRecord,
  signal: AbortSignal,
): Promise<void> {
  const kept = await deps.refs.find(nameOf(reference), signal);
  const isThere =
    kept?.digest === record.digest &&
    kept.generation === record.generation &&
    (kept.incarnation ?? 0) >= (pointer.incarnation ?? 0);
  const order = isThere
    ? { incarnation: kept.incarnation ?? 0, generation: kept.generation }
    : await writeInOrder(deps, reference, record, signal);
  if (order !== undefined) await deps.catalog.confirmRecord(reference, order, signal);
}

/** A record without its order and time. */
export function recordOf(
  reference: Reference,
  { digest, mediaType, size }: { readonly digest: Digest; readonly mediaType: string; readonly size: number },
  complete: readonly Digest[],
  bare: ReadonlyMap<Digest, BareKind>,
  skipped: Iterable<Digest> = [],
): Omit<RefRecord, 'publishedMs' | 'generation'> {
  const lacking = [...skipped].sort();
  const sorted = [...new Set(complete)].sort();
  const ofKind = (kind: BareKind): readonly Digest[] => sorted.filter((entry) => bare.get(entry) === kind);
  const [blobs, opaque] = [ofKind('blob'), ofKind('manifest')];
  return {
    reference: recordedName(reference),
    digest,
    mediaType,
    size,
    complete: sorted,
    ...(blobs.length === 0 ? {} : { blobs }),
    ...(opaque.length === 0 ? {} : { opaque }),
    ...(lacking.length === 0 ? {} : { skipped: lacking }),
  };
}

/** `registry/repository:tag`, or `…@digest`, without a tag beside the digest. */
export function recordedName(reference: Reference): string {
  const { registry, path, pointer } = nameOf(reference);
  return `${registry}/${path}${reference.digest === undefined ? ':' : ''}${pointer}`;
}

/** The name of the reference's record. */
export function nameOf(reference: Reference): RefName {
  const { registry, path } = reference.repository;
  return { registry, path, pointer: pointerOf(reference) };
}

/** Why `work` failed: an error of bucket or table, or the deadline. Undefined if it succeeded. Other errors are thrown. */
export async function failureOfRecord(signal: AbortSignal, work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof CacheError) && !signal.aborted) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
