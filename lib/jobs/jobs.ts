import { sleep } from '../async/time.ts';
import { DeadlineError } from '../errors/cache-error.ts';
import type { Leases } from '../lock/lease.ts';
import type { PullDeps, PullRequest } from '../pull/pull-request.ts';
import type { Plans } from '../store/content-store.ts';
import type { Announcer } from './announcer.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import { isEnded, type PullRecord, type PullRecords } from './pull-record.ts';

/** Work that goes on elsewhere, whether or not the caller stays: on AWS an execution of the state machine. */
export interface Jobs {
  /**
   * Joins the pull that is under way for the same request, or starts one; when this returns, its execution was accepted.
   *
   * A pull whose execution is seen not to run any more is ended as failed, and a new one takes its place. Calling it again is safe: a process that died
   * between the record and the execution leaves a record that the next caller starts.
   *
   * @throws CatalogError; JobUnavailableError if the workflow service cannot be reached or is throttled (retryable).
   */
  start(request: PullRequest, signal: AbortSignal): Promise<PullRecord>;
}

/** The executions of the state machine that pulls, one for each pull, by its id. */
export interface Executions {
  /**
   * `started`: accepted, also where one of that name runs already. `over`: one of that name ran, and a name is not given twice.
   *
   * @throws JobUnavailableError (retryable), CacheError (not retryable) where the workflow service refuses us
   */
  start(id: string, signal: AbortSignal): Promise<'started' | 'over'>;
  /**
   * `gone`: nobody knows (any more) of such an execution, so it does not run. Best effort: an execution that began or ended a moment ago may be told otherwise.
   *
   * @throws like `start`
   */
  look(id: string, signal: AbortSignal): Promise<'running' | 'over' | 'gone'>;
  /**
   * When the oldest of those that run began; undefined where none runs. Of very many, not all are looked at.
   *
   * @throws like `start`
   */
  oldestStartMs(signal: AbortSignal): Promise<number | undefined>;
}

/** What the tasks of the workflow work with. */
export interface JobDeps {
  /** Its leases are the claims of blobs: short ones. */
  readonly pull: PullDeps;
  readonly records: PullRecords;
  /** For the lock of the reference: leases that outlive the gaps between tasks. */
  readonly leases: Leases;
  readonly plans: Plans;
  readonly announcer: Announcer;
  readonly metrics: Metrics;
  /** How long a task waits for another pull's lock before the state machine does; 20 s where this does not say it. */
  readonly lockPatienceMs?: number;
  /** Where this process is the state machine: before a task is tried again it waits up to twice this, then four times; 0.5 s where this does not say it. */
  readonly retryWaitMs?: number;
  /** What one invocation copies, each blob 1 MiB longer than it is; 128 MiB where this does not say it. */
  readonly batchBytes?: number;
}

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
