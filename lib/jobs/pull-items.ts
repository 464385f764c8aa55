import { deflateRawSync, inflateRawSync } from 'node:zlib';
import * as z from 'zod/mini';
import type { Item } from '../table/dynamo-table.ts';
import { CatalogError } from '../errors/cache-error.ts';
import { fence } from '../lock/fence.ts';
import { count, decode, flag, array, platform, record, ShapeError, string } from '../oci/schemas.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { receipt, type Receipt } from '../pull/receipt.ts';
import { formatReference, parseReference } from '../reference/reference.ts';
import { pullFailure, type PullFailure } from '../pull/failure.ts';
import { amount, type Amount } from './tasks.ts';
import type { PullRecord } from './pull-record.ts';

/*
 * PULL rows to records and back.
 */

/** A row may have 400 KB, and everything else in it is small. */
const MOST_RECEIPT_BYTES = 300_000;
/** Of a receipt as JSON. We never write a larger one. */
const MOST_INFLATED_BYTES = 16 * 1024 * 1024;
const MOST_MESSAGE_CHARACTERS = 4_000;

/** The request as it is stored: {@link recordFrom} reads it back. */
export const requestItem = ({
  reference,
  platforms,
  alwaysPull,
  attestations,
  resolvedSinceMs,
  blob,
}: PullRequest): Item => ({
  reference: formatReference(reference),
  platforms,
  alwaysPull,
  attestations,
  ...(resolvedSinceMs === undefined ? {} : { resolvedSinceMs }),
  ...(blob === undefined ? {} : { blob }),
});

/** Deflated JSON. If it is too large, the receipt lists fewer platforms. */
export function receiptItem(whole: Receipt): Uint8Array {
  const deflated = deflateRawSync(JSON.stringify(whole));
  if (deflated.length <= MOST_RECEIPT_BYTES) return deflated;
  const half = <T>(list: readonly T[]): readonly T[] => list.slice(0, Math.floor(list.length / 2));
  return receiptItem({ ...whole, platforms: half(whole.platforms), skipped: half(whole.skipped) });
}

export const failureItem = (failure: PullFailure): Item => ({
  ...failure,
  message: failure.message.slice(0, MOST_MESSAGE_CHARACTERS),
});

/** The entry of one batch in `done`. */
export const amountItem = ({ blobs, bytes }: Amount): readonly number[] => [blobs, bytes];

const request = record({
  reference: z.pipe(string, z.transform(parseReference)),
  platforms: array(platform),
  alwaysPull: flag,
  attestations: flag,
  resolvedSinceMs: z.exactOptional(count),
  blob: z.exactOptional(record({ size: z.exactOptional(count) })),
});

const deflatedReceipt = z.pipe(
  z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'bytes'),
  z.transform((deflated: Uint8Array) => {
    const json = inflateRawSync(deflated, { maxOutputLength: MOST_INFLATED_BYTES }).toString('utf8');
    return decode(receipt, JSON.parse(json), 'receipt');
  }),
);

/** The progress of each batch: {@link amountItem}. */
const done = z.record(z.string(), z.tuple([count, count]));

const pullRow = record({
  pk: string,
  request,
  state: z.enum(['queued', 'running', 'succeeded', 'failed'], 'a state'),
  createdMs: count,
  askedMs: count,
  updatedMs: count,
  startedMs: z.exactOptional(count),
  endedMs: z.exactOptional(count),
  plans: count,
  lock: z.exactOptional(fence),
  planned: z.exactOptional(record({ total: amount, missing: amount })),
  plannedMs: z.exactOptional(count),
  done,
  receipt: z.exactOptional(deflatedReceipt),
  failure: z.exactOptional(pullFailure),
});

/** The record of a PULL row. @throws CatalogError if the row does not have the expected form. */
export function recordFrom(item: Item): PullRecord {
  try {
    const { pk, done: batches, ...row } = decode(pullRow, item, 'row');
    return { ...row, id: pk.slice('PULL#'.length), copied: copiedFrom(batches) };
  } catch (error) {
    if (!(error instanceof ShapeError || error instanceof SyntaxError)) throw error;
    const op = `read the record ${String(item.pk)}`;
    throw new CatalogError(op, `failed to ${op}: ${error.message}; request the pull again`, error, false);
  }
}

function copiedFrom(done: Readonly<Record<string, readonly [number, number]>>): Amount {
  const amounts = Object.values(done);
  return {
    blobs: amounts.reduce((sum, [blobs]) => sum + blobs, 0),
    bytes: amounts.reduce((sum, [, bytes]) => sum + bytes, 0),
  };
}
