import { isDigest, type Digest } from '../oci/digest.ts';
import type { FoundRefRecord, RefOrder, RefRecord, RefTombstone } from './content-store.ts';

/**
 * How long a tombstone keeps late publishers out: longer than a task of a workflow lives, or a process that
 * was suspended for a weekend. The row of the table keeps its generation for longer
 * (lib/catalog/dynamo-pointers.ts), so that a publish after the removal is newer than the tombstone.
 */
export const TOMBSTONE_MS = 7 * 86_400_000;

/** Below 0 if `a` is older than `b`, 0 if they are equal. */
export const compareOrder = (a: RefOrder, b: RefOrder): number =>
  (a.incarnation ?? 0) - (b.incarnation ?? 0) || a.generation - b.generation;

/** The object under the key of a reference. */
type RefEntry = RefRecord | RefTombstone;

const isTombstone = (entry: RefEntry): entry is RefTombstone => 'removedMs' in entry;

export const isOver = ({ removedMs }: RefTombstone, nowMs: number): boolean => nowMs - removedMs > TOMBSTONE_MS;

/**
 * What happens to the existing entry when `entry` is written: `kept` because it is newer, `same` because they
 * are equal, or `replaced`.
 */
export function outcomeOver(kept: RefEntry, entry: RefEntry, nowMs: number): 'kept' | 'same' | 'replaced' {
  if (isTombstone(kept) && isOver(kept, nowMs)) return 'replaced';
  const order = compareOrder(kept, entry);
  if (order !== 0) return order > 0 ? 'kept' : 'replaced';
  // With the same order, a removal is newer than what it removes.
  if (isTombstone(entry)) return isTombstone(kept) ? 'same' : 'replaced';
  return !isTombstone(kept) && kept.digest === entry.digest && kept.publishedMs === entry.publishedMs ? 'same' : 'kept';
}

/** The record or tombstone at `key`, or why it is neither: anyone who can write to the bucket can write anything there. */
export function parseRefRecord(key: string, text: string): FoundRefRecord {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return { key, problem: 'is not JSON' };
  }
  if (isRefTombstone(document)) return { key, tombstone: document };
  return isRefRecord(document) ? { key, record: document } : { key, problem: 'is not a record of a reference' };
}

const isOrder = ({ incarnation, generation }: Record<string, unknown>): boolean =>
  (incarnation === undefined || isCount(incarnation)) && isCount(generation);

function isRefTombstone(document: unknown): document is RefTombstone {
  if (typeof document !== 'object' || document === null) return false;
  const { reference, removedMs, ...order } = document as Record<string, unknown>;
  return typeof reference === 'string' && isCount(removedMs) && isOrder(order);
}

function isRefRecord(document: unknown): document is RefRecord {
  if (typeof document !== 'object' || document === null) return false;
  const {
    reference,
    digest,
    mediaType,
    size,
    complete,
    skipped = [],
    blobs = [],
    opaque = [],
    publishedMs,
    ...order
  } = document as Record<string, unknown>;
  return (
    typeof reference === 'string' &&
    isDigestText(digest) &&
    typeof mediaType === 'string' &&
    isCount(size) &&
    [complete, skipped, blobs, opaque].every((list) => Array.isArray(list) && list.every(isDigestText)) &&
    isCount(publishedMs) &&
    isOrder(order)
  );
}

/** The incarnation in the object; 0 if it has none. */
export function parseIncarnation(text: string | undefined): number {
  try {
    const { incarnation } = JSON.parse(text ?? '{}') as { incarnation?: unknown };
    return isCount(incarnation) ? incarnation : 0;
  } catch {
    return 0;
  }
}

const isDigestText = (value: unknown): value is Digest => typeof value === 'string' && isDigest(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
