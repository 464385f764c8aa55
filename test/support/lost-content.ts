import type { Digest } from '../../lib/oci/digest.ts';
import { reconcile, type ReconcileDeps } from '../../lib/pull/reconcile.ts';
import { forever } from './table-under-test.ts';

/** What an event of S3 starts. Whether the store really does not have it. */
export async function loseContent({ catalog, store }: ReconcileDeps, digest: Digest): Promise<boolean> {
  return (await reconcile({ catalog, store }, [{ digest }], { adopt: false, signal: forever })).has(digest);
}
