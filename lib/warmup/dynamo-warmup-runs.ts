import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { dynamoTable, isRefused, type Item } from '../table/dynamo-table.ts';
import { warmupKey } from '../table/keys.ts';
import { LeaseLostError } from '../errors/cache-error.ts';
import { fenceValues, STILL_HELD } from '../lock/dynamo-lease.ts';
import type { Fence } from '../lock/fence.ts';
import type { WarmupSummary } from '../jobs/announcer.ts';
import type { WarmupRun, WarmupRuns } from './warmup-runs.ts';

const KEPT_SECONDS = 30 * 86_400;
/** A run has at most some thousand lines. */
const MAX_SUMMARY_BYTES = 16 * 1024 * 1024;

/** Runs of warm-ups as rows of one DynamoDB table, each with its lease on the same row. */
export function dynamoWarmupRuns(options: { client: DynamoDBClient; table: string }): WarmupRuns {
  const table = dynamoTable(options.client, options.table);

  /** Sets attributes of the run's row, and extends its expiry, if we still hold the lease. */
  async function write(run: WarmupRun, lease: Fence, set: string, values: Item, op: string, signal: AbortSignal) {
    const outcome = await table.update(
      {
        key: warmupKey(run.warmup, run.scheduledTime),
        update: `SET expiresSeconds = :expiresSeconds${set}`,
        condition: STILL_HELD,
        values: { ':expiresSeconds': Math.floor(Date.now() / 1000) + KEPT_SECONDS, ...values, ...fenceValues(lease) },
      },
      op,
      signal,
    );
    if (isRefused(outcome)) {
      throw new LeaseLostError(op, `lease ${lease.name} is lost: another delivery of this run took it over`);
    }
  }

  return {
    async find({ warmup, scheduledTime }, signal) {
      const row = await table.get(warmupKey(warmup, scheduledTime), true, `find the run of warm-up ${warmup}`, signal);
      if (row?.summary === undefined) return undefined;
      return { summary: summaryFrom(row.summary as Uint8Array), announced: row.announced === true };
    },
    begin: (run, lease, signal) => write(run, lease, '', {}, `begin warm-up ${run.warmup}`, signal),
    end: (summary, lease, signal) =>
      write(
        summary,
        lease,
        ', summary = :summary',
        { ':summary': deflateRawSync(JSON.stringify(summary)) },
        `end warm-up ${summary.warmup}`,
        signal,
      ),
    announced: (run, lease, signal) =>
      write(run, lease, ', announced = :true', { ':true': true }, `record the end of warm-up ${run.warmup}`, signal),
  };
}

const summaryFrom = (deflated: Uint8Array): WarmupSummary =>
  JSON.parse(inflateRawSync(deflated, { maxOutputLength: MAX_SUMMARY_BYTES }).toString('utf8')) as WarmupSummary;
