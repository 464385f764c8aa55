import { isDigest, type Digest } from '../oci/digest.ts';
import type { FoundRefRecord, RefOrder, RefRecord, RefTombstone } from './content-store.ts';

/**
 * So long a tombstone keeps late publishers out: longer than a task of a workflow, or a process that was put to sleep for a weekend, lives. The row of the table
 * keeps its generation for longer ({@link file://./../catalog/dynamo-pointers.ts}), so that what is published after the removal is newer than the tombstone.
 */
export const TOMBSTONE_MS = 7 * 86_400_000;

/** Below 0 where `a` is older than `b`, 0 where both say the same moment. */
export const compareOrder = (a: RefOrder, b: RefOrder): number =>
  (a.incarnation ?? 0) - (b.incarnation ?? 0) || a.generation - b.generation;

/** What stands under the key of a reference. */
export type RefEntry = RefRecord | RefTombstone;

export const isTombstone = (entry: RefEntry): entry is RefTombstone => 'removedMs' in entry;

export const isOver = ({ removedMs }: RefTombstone, nowMs: number): boolean => nowMs - removedMs > TOMBSTONE_MS;

/** What becomes of what is there when `entry` is to be written: `kept` is newer; `same` says it already. */
export function outcomeOver(kept: RefEntry, entry: RefEntry, nowMs: number): 'kept' | 'same' | 'replaced' {
  if (isTombstone(kept) && isOver(kept, nowMs)) return 'replaced';
  const order = compareOrder(kept, entry);
  if (order !== 0) return order > 0 ? 'kept' : 'replaced';
  // A removal comes after what it removes.
  if (isTombstone(entry)) return isTombstone(kept) ? 'same' : 'replaced';
  return !isTombstone(kept) && kept.digest === entry.digest && kept.publishedMs === entry.publishedMs ? 'same' : 'kept';
}

/** What the object at `key` says, or why it is no record: whoever can write into the bucket can write anything there. */
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

/** The incarnation that the object says; 0 where it says none. */
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
