import type { Digest } from '../oci/digest.ts';

/** What a registry did not have, after a publish that found `complete` and did not find `skipped`. */
export function skippedAfter(
  known: ReadonlySet<Digest> | undefined,
  complete: readonly Digest[],
  skipped: readonly Digest[],
): ReadonlySet<Digest> {
  const found = new Set(complete);
  return new Set([...(known ?? []), ...skipped].filter((digest) => !found.has(digest)));
}
