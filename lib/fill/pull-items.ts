import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Item } from '../catalog/dynamo-table.ts';
import type { Fence } from '../lock/lease.ts';
import type { Platform } from '../oci/platform.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import type { Receipt } from '../pull/receipt.ts';
import { formatReference, parseReference } from '../reference/reference.ts';
import type { Amount, PullFailure, PullRecord, PullState } from './pull-record.ts';

/*
 * PULL rows to records and back. Rows were written by us, so they are read without checks beyond their types.
 */

/** Of the 400 KB that a row may have; the rest of it is small. */
const MOST_RECEIPT_BYTES = 300_000;
/** Of a receipt as JSON; a row that says more was not written by us. */
const MOST_INFLATED_BYTES = 16 * 1024 * 1024;
const MOST_MESSAGE_CHARACTERS = 4_000;

/** The request as it is stored: {@link requestFrom} gives back an equal one. */
export const requestItem = ({
  reference,
  platforms,
  alwaysPull,
  attestations,
  resolvedSinceMs,
}: PullRequest): Item => ({
  reference: formatReference(reference),
  platforms,
  alwaysPull,
  attestations,
  ...(resolvedSinceMs === undefined ? {} : { resolvedSinceMs }),
});

const requestFrom = (item: Item): PullRequest => ({
  reference: parseReference(item.reference as string),
  platforms: item.platforms as Platform[],
  alwaysPull: item.alwaysPull as boolean,
  attestations: item.attestations as boolean,
  ...(item.resolvedSinceMs === undefined ? {} : { resolvedSinceMs: item.resolvedSinceMs as number }),
});

/** Deflated JSON. Of an image with so many platforms that even this is too large, the receipt lists fewer. */
export function receiptItem(receipt: Receipt): Uint8Array {
  const deflated = deflateRawSync(JSON.stringify(receipt));
  if (deflated.length <= MOST_RECEIPT_BYTES) return deflated;
  const half = <T>(list: readonly T[]): readonly T[] => list.slice(0, Math.floor(list.length / 2));
  return receiptItem({ ...receipt, platforms: half(receipt.platforms), skipped: half(receipt.skipped) });
}

const receiptFrom = (deflated: Uint8Array): Receipt =>
  JSON.parse(inflateRawSync(deflated, { maxOutputLength: MOST_INFLATED_BYTES }).toString('utf8')) as Receipt;

export const failureItem = (failure: PullFailure): Item => ({
  ...failure,
  message: failure.message.slice(0, MOST_MESSAGE_CHARACTERS),
});

/** A batch's share of `done`. */
export const amountItem = ({ blobs, bytes }: Amount): readonly number[] => [blobs, bytes];

/** The record of a PULL row. */
export function recordFrom(item: Item): PullRecord {
  const { startedMs, endedMs, plannedMs, lock, planned, failure, receipt } = item;
  return {
    id: (item.pk as string).slice('PULL#'.length),
    request: requestFrom(item.request as Item),
    state: item.state as PullState,
    createdMs: item.createdMs as number,
    askedMs: item.askedMs as number,
    updatedMs: item.updatedMs as number,
    plans: item.plans as number,
    copied: copiedFrom(item.done as Record<string, readonly [number, number]>),
    ...(startedMs === undefined ? {} : { startedMs: startedMs as number }),
    ...(endedMs === undefined ? {} : { endedMs: endedMs as number }),
    ...(plannedMs === undefined ? {} : { plannedMs: plannedMs as number }),
    ...(lock === undefined ? {} : { lock: lock as Fence }),
    ...(planned === undefined ? {} : { planned: planned as NonNullable<PullRecord['planned']> }),
    ...(failure === undefined ? {} : { failure: failure as PullFailure }),
    ...(receipt === undefined ? {} : { receipt: receiptFrom(receipt as Uint8Array) }),
  };
}

function copiedFrom(done: Readonly<Record<string, readonly [number, number]>>): Amount {
  const amounts = Object.values(done);
  return {
    blobs: amounts.reduce((sum, [blobs]) => sum + blobs, 0),
    bytes: amounts.reduce((sum, [, bytes]) => sum + bytes, 0),
  };
}
