import { sleep } from '../async/time.ts';
import { DeadlineError } from '../errors/cache-error.ts';
import type { Leases } from '../lock/lease.ts';
import type { PullDeps, PullRequest } from '../pull/pull-request.ts';
import type { Plans } from '../store/content-store.ts';
import type { Announcer } from './announcer.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import { isEnded, type PullRecord, type PullRecords } from './pull-record.ts';

/** Pulls that run outside of the caller and do not depend on it: on AWS as executions of the state machine. */
export interface Jobs {
  /**
   * Joins the running pull of the same request, or starts one. When this returns, its execution is accepted.
   *
   * A pull whose execution has stopped is ended as failed, and replaced by a new one. Calling it again is safe: if a process dies between the record and the
   * execution, the next caller starts it.
   *
   * @throws CatalogError; JobUnavailableError if the workflow service cannot be reached or is throttled (retryable).
   */
  start(request: PullRequest, signal: AbortSignal): Promise<PullRecord>;
}

/** The executions of the state machine, one per pull, named by the pull's id. */
export interface Executions {
  /**
   * `started`: accepted, or one of that name runs already. `over`: one of that name has ended, and a name cannot be used twice.
   *
   * @throws JobUnavailableError (retryable), CacheError (not retryable) if the workflow service refuses us
   */
  start(id: string, signal: AbortSignal): Promise<'started' | 'over'>;
  /**
   * `gone`: there is no such execution (any more). Eventually consistent: may be wrong for an execution that began or ended a moment ago.
   *
   * @throws like `start`
   */
  look(id: string, signal: AbortSignal): Promise<'running' | 'over' | 'gone'>;
  /**
   * When the oldest running one began; undefined if none runs. Approximate for more than some thousand.
   *
   * @throws like `start`
   */
  oldestStartMs(signal: AbortSignal): Promise<number | undefined>;
}

/** The dependencies of the tasks of the workflow. */
export interface JobDeps {
  /** Its leases are for the claims of blobs, which are short. */
  readonly pull: PullDeps;
  readonly records: PullRecords;
  /** For the lock of the reference: leases that last from one task to the next. */
  readonly leases: Leases;
  readonly plans: Plans;
  readonly announcer: Announcer;
  readonly metrics: Metrics;
  /** How long a task waits for another pull's lock before the state machine does. Default 20 s. */
  readonly lockPatienceMs?: number;
  /** For jobs in this process: the wait before the first retry is up to twice this, then four times. Default 0.5 s. */
  readonly retryWaitMs?: number;
  /** Bytes per invocation of the copy task, with 1 MiB added per blob. Default 128 MiB. */
  readonly batchBytes?: number;
}

const FIRST_POLL_MS = 200;
const POLLS_GROW_BY = 1.5;
const MOST_BETWEEN_POLLS_MS = 1_000;

/**
 * Polls until the pull has ended, and returns its record; the last one read if `deadline` fires with a DeadlineError. The pull goes on either way.
 *
 * @throws CatalogError
 */
export async function waitForEnd(
  records: Pick<PullRecords, 'find'>,
  record: PullRecord,
  deadline: AbortSignal,
): Promise<PullRecord> {
  let last = record;
  let delayMs = FIRST_POLL_MS;
  try {
    while (!isEnded(last)) {
      await sleep(delayMs, deadline);
      delayMs = Math.min(delayMs * POLLS_GROW_BY, MOST_BETWEEN_POLLS_MS);
      last = (await records.find(record.id, deadline)) ?? last;
    }
  } catch (error) {
    if (!(deadline.aborted && deadline.reason instanceof DeadlineError)) throw error;
  }
  return last;
}
