import type { BlobRow, Catalog } from '../catalog/catalog.ts';
import type { Digest } from '../oci/digest.ts';
import { allOrFirstFailure, limiter } from '../pull/limiter.ts';
import type { StoredContent } from '../store/content-store.ts';

const PARALLEL_ROOTS = 16;

/** Records that content is gone or wrong (`stored`). The row first: if somebody wrote the object anew meanwhile, nothing is taken back. */
export async function takeBack(
  catalog: Catalog,
  digest: Digest,
  row: BlobRow | undefined,
  stored: StoredContent | undefined,
  signal: AbortSignal,
): Promise<void> {
  const gone = row ?? { digest, state: 'absent' as const, domains: new Set<never>() };
  if (await catalog.markBlobLost(gone, stored?.etag, signal)) await uncompleteUses(catalog, digest, signal);
}

/** Whatever needs the content is complete no more. Idempotent. */
export async function uncompleteUses(
  catalog: Pick<Catalog, 'findUses' | 'uncomplete'>,
  digest: Digest,
  signal: AbortSignal,
): Promise<void> {
  const children = new Map<Digest, Digest[]>();
  for (const use of await catalog.findUses(digest, signal)) {
    children.set(use.root, [...(children.get(use.root) ?? []), use.child]);
  }
  // A layer that thousands of images share must get to its end within one invocation.
  const places = limiter(PARALLEL_ROOTS);
  await allOrFirstFailure([...children], signal, ([root, some], stop) =>
    places.run(() => catalog.uncomplete(root, some, stop)),
  );
}
