import type * as z from 'zod/mini';
import { count, record, string } from '../oci/schemas.ts';

/** What makes a write ours: both must still stand on the lease's row when it happens. As a document it goes from task to task. */
export const fence = record({
  /** `pull:docker.io/library/alpine:3.20`, `blob:sha256:…`. */
  name: string,
  /** A fresh uuid per acquisition. */
  holder: string,
  /** Only grows, one further for each acquisition. */
  generation: count,
});
export type Fence = z.output<typeof fence>;

/** The fence alone of a lease: what is kept between processes. */
export const fenceOf = ({ name, holder, generation }: Fence): Fence => ({ name, holder, generation });
