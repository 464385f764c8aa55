import { NOBODY } from '../table/keys.ts';
import type { Fence } from './fence.ts';
import type { HeldLease } from './lease.ts';

/** Still ours. Without this a late holder would undo the work of the next one. */
export const STILL_HELD = 'holder = :holder AND generation = :generation';

/** The values of {@link STILL_HELD}. */
export const fenceValues = ({ holder, generation }: Fence) => ({ ':holder': holder, ':generation': generation });

/** Who holds the lease by its row, if anybody does. */
export function heldLease(row: Readonly<Record<string, unknown>> | undefined): HeldLease | undefined {
  if (row?.holder === undefined || row.holder === NOBODY) return undefined;
  return {
    holder: row.holder as string,
    version: row.version as string,
    durationMs: row.durationMs as number,
    leaseUntilMs: row.leaseUntilMs as number,
  };
}
