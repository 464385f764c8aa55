import type { PullRecords } from './pull-record.ts';
import type { Leases } from '../lock/lease.ts';
import type { PullDeps } from '../pull/pull-request.ts';
import type { Plans } from '../store/content-store.ts';
import type { Announcer, Metrics } from '../telemetry/telemetry.ts';

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
