import type { Amount } from './amount.ts';
import type { PullRecord } from './pull-record.ts';

/** How far a pull is. */
export interface Progress {
  /** All of the image that was asked for. */
  readonly total: Amount;
  /** What had to be copied when it was planned. */
  readonly missing: Amount;
  /** Of `missing`. */
  readonly copied: Amount;
  /** Since it was planned; null where no time has passed. */
  readonly bytesPerSecond: number | null;
  /** Until all is copied at this rate; null where nothing has been copied yet, and for a pull that failed. */
  readonly etaSeconds: number | null;
}

/** How far the pull is at `nowMs`; undefined before it was planned. A pull that ended stands still. */
export function progressOf(record: PullRecord, nowMs: number): Progress | undefined {
  const { planned, plannedMs, endedMs, state } = record;
  if (planned === undefined || plannedMs === undefined) return undefined;
  const { total, missing } = planned;
  // Batches count what they did; of a plan that was made anew meanwhile, a late one may count too much.
  const copied = {
    blobs: Math.min(record.copied.blobs, missing.blobs),
    bytes: Math.min(record.copied.bytes, missing.bytes),
  };
  const elapsedMs = (endedMs ?? nowMs) - plannedMs;
  const bytesPerSecond = elapsedMs > 0 ? Math.round((copied.bytes * 1000) / elapsedMs) : null;
  return { total, missing, copied, bytesPerSecond, etaSeconds: eta() };

  function eta(): number | null {
    if (state === 'succeeded' || missing.bytes === copied.bytes) return state === 'failed' ? null : 0;
    if (state === 'failed' || bytesPerSecond === null || bytesPerSecond === 0) return null;
    return Math.ceil((missing.bytes - copied.bytes) / bytesPerSecond);
  }
}
