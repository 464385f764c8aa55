import { isDigest, type Digest } from '../oci/digest.ts';
import type { FoundRefRecord, RefRecord } from './content-store.ts';

/** What the object at `key` says, or why it is no record: whoever can write into the bucket can write anything there. */
export function parseRefRecord(key: string, text: string): FoundRefRecord {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return { key, problem: 'is not JSON' };
  }
  return isRefRecord(document) ? { key, record: document } : { key, problem: 'is not a record of a reference' };
}

function isRefRecord(document: unknown): document is RefRecord {
  if (typeof document !== 'object' || document === null) return false;
  const { reference, digest, mediaType, size, complete, publishedMs, generation } = document as Record<string, unknown>;
  return (
    typeof reference === 'string' &&
    isDigestText(digest) &&
    typeof mediaType === 'string' &&
    isCount(size) &&
    Array.isArray(complete) &&
    complete.every(isDigestText) &&
    isCount(publishedMs) &&
    isCount(generation)
  );
}

const isDigestText = (value: unknown): value is Digest => typeof value === 'string' && isDigest(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
