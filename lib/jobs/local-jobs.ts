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

/** Pulls at the same time, so that a slow repository keeps no other waiting, and a slow registry no other: of one repository, and of all of one registry. */
const PARALLEL_PULLS = { repository: 3, registry: 12 };
/** The same for blobs that are wanted by themselves: a client asks for all layers of an image at once, and they keep no image waiting. */
const PARALLEL_BLOBS = { repository: 6, registry: 24 };
const TRIES = 3;
const USUAL_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;
/** A registry that wants to rest for longer ends the pull: its caller hears for how long, and asks again. */
const LONGEST_REST_MS = 60_000;
/** A pull that runs writes its progress every few seconds: one that is silent for so long died with its process. */
const SILENT_MS = 20_000;

export type LocalJobsDeps = Pick<JobDeps, 'pull' | 'records' | 'announcer' | 'metrics' | 'retryWaitMs'>;

export interface LocalJobs extends Jobs, AsyncDisposable {
  /** Pulls that this process carries out now. */
  readonly running: number;
}

/**
 * Pulls that this process carries out, each from its record to its end: for the command line, where there is no Step Functions. A pull goes on whether or not
 * who asked for it stays; disposal stops what runs, and the next process that is asked for the same goes on with what is there.
 */
export function localJobs(deps: LocalJobsDeps, failed: (id: string, error: unknown) => void): LocalJobs {
  const closing = new AbortController();
  const places = new Map<string, { readonly limiter: Permits; users: number }>();
  const running = new Map<string, Promise<void>>();

  async function inPlaceOf(name: string, most: number, work: () => Promise<void>): Promise<void> {
    const place = places.get(name) ?? { limiter: newPermits(most), users: 0 };
    places.set(name, place);
    place.users += 1;
    try {
      await place.limiter.run(work);
    } finally {
      place.users -= 1;
      if (place.users === 0) places.delete(name);
    }
  }

  function inTurn({ request: { reference, blob } }: PullRecord, work: () => Promise<void>): Promise<void> {
    const { repository } = reference;
    const [what, most] = blob === undefined ? ['images', PARALLEL_PULLS] : ['blobs', PARALLEL_BLOBS];
    return inPlaceOf(`${what} of ${formatRepository(repository)}`, most.repository, () =>
      inPlaceOf(`${what} of ${repository.registry}`, most.registry, work),
    );
  }

  function run(record: PullRecord): void {
    const { id } = record;
    const work = inTurn(record, () => carryOut(deps, record, closing.signal))
      .catch((error: unknown) => {
        // Its record stays as it is, and who asks next finds it silent.
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

/** The record ended while its pull waited for the lock: another process carried it out, or gave it up. */
class EndedMeanwhile extends Error {}

async function carryOut(deps: LocalJobsDeps, record: PullRecord, signal: AbortSignal): Promise<void> {
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

/** The pull, tried again where that may help. What finished in one try is there in the next. */
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

/** Before the next try; undefined where there is none. */
function waitBefore(error: unknown, tries: number, firstMs: number): number | undefined {
  if (!(error instanceof CacheError) || !error.retryable || tries >= TRIES) return undefined;
  const backOffMs = Math.random() * Math.min(LONGEST_WAIT_MS, firstMs * 2 ** tries);
  if (!(error instanceof RateLimitedError) || error.retryAfterMs === undefined) return backOffMs;
  return error.retryAfterMs > LONGEST_REST_MS ? undefined : error.retryAfterMs + backOffMs;
}
