import type * as z from 'zod/mini';
import type { Descriptor } from '../oci/descriptor.ts';
import { count, record } from '../oci/schemas.ts';

/** Distinct configs and layers, and their bytes. */
export const amount = record({ blobs: count, bytes: count });
export type Amount = z.output<typeof amount>;

export const amountOf = (blobs: readonly Descriptor[]): Amount => ({
  blobs: blobs.length,
  bytes: blobs.reduce((sum, { size }) => sum + size, 0),
});
