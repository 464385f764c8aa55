import { sleep } from '../async/time.ts';
import { DeadlineError } from '../errors/cache-error.ts';
import { isEnded, type PullRecord, type PullRecords } from './pull-record.ts';

const FIRST_LOOK_MS = 200;
const LOOKS_GROW_BY = 1.5;
const MOST_BETWEEN_LOOKS_MS = 1_000;

/**
 * The record as soon as its pull has ended, or as it was last seen when `deadline` fires with a DeadlineError. The pull itself goes on either way.
 *
 * @throws CatalogError
 */
export async function waitForEnd(
  records: Pick<PullRecords, 'find'>,
  record: PullRecord,
  deadline: AbortSignal,
): Promise<PullRecord> {
  let last = record;
  let delayMs = FIRST_LOOK_MS;
  try {
    while (!isEnded(last)) {
      await sleep(delayMs, deadline);
      delayMs = Math.min(delayMs * LOOKS_GROW_BY, MOST_BETWEEN_LOOKS_MS);
      last = (await records.find(record.id, deadline)) ?? last;
    }
  } catch (error) {
    if (!(deadline.aborted && deadline.reason instanceof DeadlineError)) throw error;
  }
  return last;
}
