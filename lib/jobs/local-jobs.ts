import { sleep } from '../async/time.ts';
import { CacheError, RateLimitedError } from '../errors/cache-error.ts';
import { announceEnd, endAbandoned, succeed } from './ending.ts';
import { failureOf } from '../pull/failure.ts';
import type { JobDeps, Jobs } from './jobs.ts';
import { amountOf } from './tasks.ts';
import { isEnded, type PullRecord } from './pull-record.ts';
import { fenceOf } from '../lock/fence.ts';
import { formatRepository } from '../reference/reference.ts';
import { newPermits, type Permits } from '../async/parallel.ts';
import type { PullProgress } from '../pull/pull-request.ts';
import { pull, type PullKeeper } from '../pull/pull.ts';
import { NOTHING_MOVED, type Receipt } from '../pull/receipt.ts';
import { startBatchProgress } from './copy-task.ts';

/** Permits for pulls of one repository, and of one registry, so that a slow one does not block the others. */
const PARALLEL_PULLS = { repository: 3, registry: 12 };
/** Permits for pulls of single blobs, apart from images: a client requests all layers of an image at once. */
const PARALLEL_BLOBS = { repository: 6, registry: 24 };
const TRIES = 3;
const USUAL_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
/** If the registry asks for a longer wait, the pull fails: the caller gets the time, and requests it again. */
const MOST_RETRY_AFTER_MS = 60_000;
/** A running pull writes its progress every few seconds. After this time without a write, its process has died. */
const SILENT_MS = 20_000;

export type LocalJobsDeps = Pick<JobDeps, 'pull' | 'records' | 'announcer' | 'metrics' | 'retryWaitMs'>;

export interface LocalJobs extends Jobs, AsyncDisposable {
  /** Pulls that run in this process now. */
  readonly running: number;
}

/**
 * Runs pulls in this process, for the command line, where there is no Step Functions. A pull does not depend on its caller. Disposal stops the running pulls; the
 * next process that gets the same request goes on from there.
 */
export function localJobs(deps: LocalJobsDeps, failed: (id: string, error: unknown) => void): LocalJobs {
  const closing = new AbortController();
  const pools = new Map<string, { readonly permits: Permits; users: number }>();
  const running = new Map<string, Promise<void>>();

  async function withPermit(name: string, most: number, work: () => Promise<void>): Promise<void> {
    const pool = pools.get(name) ?? { permits: newPermits(most), users: 0 };
    pools.set(name, pool);
    pool.users += 1;
    try {
      await pool.permits.run(work);
    } finally {
      pool.users -= 1;
      if (pool.users === 0) pools.delete(name);
    }
  }

  function withPermits({ request: { reference, blob } }: PullRecord, work: () => Promise<void>): Promise<void> {
    const { repository } = reference;
    const [what, most] = blob === undefined ? ['images', PARALLEL_PULLS] : ['blobs', PARALLEL_BLOBS];
    return withPermit(`${what} of ${formatRepository(repository)}`, most.repository, () =>
      withPermit(`${what} of ${repository.registry}`, most.registry, work),
    );
  }

  function run(record: PullRecord): void {
    const { id } = record;
    const work = withPermits(record, () => runJob(deps, record, closing.signal))
      .catch((error: unknown) => {
        // Its record stays, and the next caller finds that it is silent.
        if (!closing.signal.aborted) failed(id, error);
      })
      .finally(() => running.delete(id));
    running.set(id, work);
  }

  return {
    get running() {
      return running.size;
    },
    async start(request, signal) {
      const { record, created } = await deps.records.join(request, signal);
      if (running.has(record.id)) return record;
      if (created || record.state === 'queued') {
        run(record);
        return record;
      }
      if (isEnded(record) || Date.now() - record.updatedMs < SILENT_MS) return record;
      await endAbandoned({ records: deps.records, leases: deps.pull.leases }, record.id, signal);
      const next = await deps.records.join(request, signal);
      if (next.created) run(next.record);
      return next.record;
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the process ends'));
      await Promise.allSettled(running.values());
    },
  };
}

/** The record ended while its pull waited for the lock: another process finished or abandoned it. */
class EndedMeanwhile extends Error {}

async function runJob(deps: LocalJobsDeps, record: PullRecord, signal: AbortSignal): Promise<void> {
  const { id } = record;
  try {
    const receipt = await pulled(deps, record, signal);
    await succeed(deps, record, receipt, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof EndedMeanwhile) return;
    const ended = await deps.records.fail(id, failureOf(error), signal);
    deps.metrics.add('PullsFailed', 1);
    await announceEnd(deps, ended, signal);
    if (!(error instanceof CacheError)) throw error;
  }
}

/** Runs the pull, with retries if the error is retryable. Content of one try is kept for the next. */
async function pulled(
  { pull: deps, records, retryWaitMs = USUAL_WAIT_MS }: LocalJobsDeps,
  { id, request }: PullRecord,
  signal: AbortSignal,
): Promise<Receipt> {
  const keeper: PullKeeper = {
    async begins(lock, held) {
      if ((await records.begin(id, fenceOf(lock), held)) === undefined) throw new EndedMeanwhile();
    },
    async prepared({ content, missing }, held) {
      await records.planned(id, { total: amountOf(content.blobs), missing: amountOf(missing) }, held);
    },
  };
  for (let tries = 1; ; tries++) {
    const done = startBatchProgress(records, { id, batch: 0, blobs: NOTHING_MOVED, bytes: NOTHING_MOVED });
    const progress: PullProgress = {
      ...done.progress,
      finished: (blob, by) => done.blob(blob, by === 'us' ? 'copied' : 'copiedElsewhere'),
    };
    try {
      return await pull({ ...deps, progress }, request, signal, keeper);
    } catch (error) {
      signal.throwIfAborted();
      const waitMs = waitBefore(error, tries, retryWaitMs);
      if (waitMs === undefined) throw error;
      await sleep(waitMs, signal);
    } finally {
      await done.end();
    }
  }
}

/** The wait before the next try; undefined if there is none. */
function waitBefore(error: unknown, tries: number, firstMs: number): number | undefined {
  if (!(error instanceof CacheError) || !error.retryable || tries >= TRIES) return undefined;
  const backOffMs = Math.random() * Math.min(LONGEST_WAIT_MS, firstMs * 2 ** tries);
  if (!(error instanceof RateLimitedError) || error.retryAfterMs === undefined) return backOffMs;
  return error.retryAfterMs > MOST_RETRY_AFTER_MS ? undefined : error.retryAfterMs + backOffMs;
}
