import type * as z from 'zod/mini';
import { count, record, string } from '../oci/schemas.ts';

/**
 * Proves that a lease is ours: a write holds only if holder and generation are still in the lease's row.
 * Passed from task to task as a document.
 */
export const fence = record({
  /** `pull:docker.io/library/alpine:3.20`, `blob:sha256:…`. */
  name: string,
  /** A new UUID for each acquisition. */
  holder: string,
  /** Grows by one with each acquisition. */
  generation: count,
});
export type Fence = z.output<typeof fence>;

/** The fence of a lease, without the rest: what is passed between processes. */
export const fenceOf = ({ name, holder, generation }: Fence): Fence => ({ name, holder, generation });
