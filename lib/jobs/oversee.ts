import { InvalidRequestError } from '../errors/cache-error.ts';
import { announceEnd, endAbandoned, isAbandoned } from './ending.ts';
import type { Executions } from './jobs.ts';
import type { PullRecords } from './pull-record.ts';
import type { Leases } from '../lock/lease.ts';
import type { Announcer } from './announcer.ts';
import type { Metrics } from '../telemetry/telemetry.ts';

export interface OverseeDeps {
  readonly records: PullRecords;
  readonly leases: Pick<Leases, 'adopt'>;
  readonly executions: Executions;
  readonly announcer: Announcer;
  readonly metrics: Metrics;
}

/** What came of an event. */
export type Overseen =
  | { readonly pullId: string; readonly outcome: 'ended' | 'had ended' | 'unknown' }
  | { readonly oldestRunningPullSeconds: number };

/** Statuses of an execution that did not do its work. */
const ENDED_BADLY: readonly unknown[] = ['FAILED', 'TIMED_OUT', 'ABORTED'];

/**
 * Looks after the pulls of workflows, told by EventBridge:
 *
 * - An execution ended badly: if its pull has not ended, it fails, its lock is freed, and that is announced and counted. The same event again frees
 *   nothing twice, but announces and counts again: its first delivery may have died in between.
 * - A schedule: how long the oldest execution has been running, as a metric; 0 where none runs.
 *
 * A pull that was written down, but whose execution never began, is not looked for: the next caller who asks for the same finds it and starts it, and it
 * holds no lock until then.
 *
 * @throws InvalidRequestError for any other event; CacheError where a service failed, to be delivered again.
 */
export async function oversee(deps: OverseeDeps, event: unknown, signal: AbortSignal): Promise<Overseen> {
  const { 'detail-type': type, detail } = (event ?? {}) as { 'detail-type'?: unknown; detail?: unknown };
  if (type === 'Scheduled Event') return await measure(deps, signal);
  const { name, status } = (detail ?? {}) as { name?: unknown; status?: unknown };
  if (type === 'Step Functions Execution Status Change' && typeof name === 'string' && ENDED_BADLY.includes(status)) {
    return await endPull(deps, name, signal);
  }
  throw new InvalidRequestError(
    'event',
    `expected a Scheduled Event, or a Step Functions Execution Status Change to ${ENDED_BADLY.join(', ')}; found ${JSON.stringify([type, status]).slice(0, 200)}`,
  );
}

async function measure({ executions, metrics }: OverseeDeps, signal: AbortSignal): Promise<Overseen> {
  const oldestMs = await executions.oldestStartMs(signal);
  const seconds = oldestMs === undefined ? 0 : Math.max(0, Math.round((Date.now() - oldestMs) / 1000));
  metrics.add('OldestRunningPullSeconds', seconds);
  return { oldestRunningPullSeconds: seconds };
}

async function endPull(deps: OverseeDeps, pullId: string, signal: AbortSignal): Promise<Overseen> {
  // Started by hand, or long ago.
  if ((await deps.records.find(pullId, signal)) === undefined) return { pullId, outcome: 'unknown' };
  const record = await endAbandoned(deps, pullId, signal);
  // Who asked for it may have ended it first, silently; what the workflow ended itself, it announced itself.
  if (!isAbandoned(record)) return { pullId, outcome: 'had ended' };
  deps.metrics.add('PullsFailed', 1);
  await announceEnd(deps, record, signal);
  return { pullId, outcome: 'ended' };
}
