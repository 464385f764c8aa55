import type { Fence } from './lease.ts';

/** Still ours. Without this a late holder would undo the work of the next one. */
export const STILL_HELD = 'holder = :holder AND generation = :generation';

/** The values of {@link STILL_HELD}. */
export const fenceValues = ({ holder, generation }: Fence) => ({ ':holder': holder, ':generation': generation });
