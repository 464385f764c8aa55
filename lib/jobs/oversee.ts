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

/** The result of an event. */
export type Overseen =
  | { readonly pullId: string; readonly outcome: 'ended' | 'had ended' | 'unknown' }
  | { readonly oldestRunningPullSeconds: number };

/** Statuses of an execution that failed. */
const ENDED_BADLY: readonly unknown[] = ['FAILED', 'TIMED_OUT', 'ABORTED'];

/**
 * Handles the events of EventBridge about workflows:
 *
 * - An execution failed: its pull is ended as failed if it has not ended, its lock is released, and the failure is announced and counted. If the event is delivered
 *   again, it is announced and counted again, because the first delivery may have died in between.
 * - A schedule: writes how long the oldest execution has been running as a metric; 0 if none runs.
 *
 * A record whose execution never began is left alone: it holds no lock, and the next caller with the same request starts it.
 *
 * @throws InvalidRequestError for any other event; CacheError if a service failed: then the event is delivered again.
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
  // The execution was started by hand, or long ago.
  if ((await deps.records.find(pullId, signal)) === undefined) return { pullId, outcome: 'unknown' };
  const record = await endAbandoned(deps, pullId, signal);
  // If the workflow itself ended the pull, it also announced it.
  if (!isAbandoned(record)) return { pullId, outcome: 'had ended' };
  deps.metrics.add('PullsFailed', 1);
  await announceEnd(deps, record, signal);
  return { pullId, outcome: 'ended' };
}
