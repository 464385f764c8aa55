import type { BlobRow } from '../catalog/catalog.ts';
import { BlobsFailedError, DeadlineError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { copier } from '../pull/copier.ts';
import { failureOf, type FailureOfBlob } from '../pull/failure.ts';
import { linkStored } from '../pull/publish.ts';
import { isStopped, type PullProgress } from '../pull/pull-request.ts';
import type { Moved } from '../pull/receipt.ts';
import { optionalOf } from '../pull/skipped.ts';
import { underLock } from './job-lock.ts';
import type { JobDeps } from './jobs.ts';
import { MAX_PLAN_BYTES, parsePlan, type PlanDocument } from './plan-document.ts';
import { isEnded, type PullRecord, type PullRecords } from './pull-record.ts';
import { asTask, finalError, NoProgressError, planAgain } from './task-error.ts';
import {
  type Amount,
  broken,
  type CopyAnswer,
  type CopyInput,
  copyInput,
  parseTask,
  recordOfTask,
  sumOfRequests,
} from './tasks.ts';

const REPORT_EVERY_MS = 5_000;
/** For the report after the deadline; the invocation reserves this time. */
const LAST_REPORT_WITHIN_MS = 2_000;

/** The progress of one invocation on its batch. Written to the pull's record every few seconds. */
export interface BatchProgress {
  /** For the copier. */
  readonly progress: Required<Pick<PullProgress, 'copied'>>;
  blob(blob: Descriptor, outcome: keyof Moved): void;
  /** The registry does not have this blob, and the image is complete without it. */
  absent(layer: Descriptor): void;
  isAbsent(blob: Descriptor): boolean;
  /** Whether the blob is in the cache now. */
  isDone(blob: Descriptor): boolean;
  /** Blobs and bytes of the batch over all its invocations so far, including this one. */
  moved(): { readonly blobs: Moved; readonly bytes: Moved };
  /** Bytes that this invocation fetched. */
  copiedBytes(): number;
  /** Writes the last report, within a few seconds. Never throws: a report that fails only makes the shown progress late. */
  end(): Promise<void>;
}

export function startBatchProgress(
  records: Pick<PullRecords, 'progressed'>,
  task: Pick<CopyInput, 'id' | 'batch' | 'blobs' | 'bytes'>,
): BatchProgress {
  const done = new Map<Digest, { size: number; outcome: keyof Moved }>();
  const absent = new Set<Digest>();
  /** Bytes read so far of unfinished blobs. */
  const underWay = new Map<Digest, number>();

  const now = (weigh: (size: number) => number): Moved => {
    const of = (kind: keyof Moved): number =>
      [...done.values()].reduce((sum, { size, outcome }) => sum + (outcome === kind ? weigh(size) : 0), 0);
    return { present: of('present'), copied: of('copied'), copiedElsewhere: of('copiedElsewhere') };
  };
  const moved = () => ({
    blobs: merged(
      task.blobs,
      now(() => 1),
    ),
    bytes: merged(
      task.bytes,
      now((size) => size),
    ),
  });
  const report = (inFlightBytes: number, signal: AbortSignal): Promise<void> => {
    const { blobs, bytes } = moved();
    const amount: Amount = { blobs: total(blobs), bytes: total(bytes) + inFlightBytes };
    return records.progressed(task.id, task.batch, amount, signal);
  };

  const ended = new AbortController();
  let reporting: Promise<void> | undefined;
  const timer = setInterval(() => {
    const bytes = [...underWay.values()].reduce((sum, one) => sum + one, 0);
    // A failed report is repaired by the next one. Nothing depends on progress.
    reporting ??= report(bytes, AbortSignal.any([ended.signal, AbortSignal.timeout(REPORT_EVERY_MS)]))
      .catch(() => undefined)
      .finally(() => (reporting = undefined));
  }, REPORT_EVERY_MS);
  return {
    progress: {
      copied({ digest }, bytes) {
        if (!done.has(digest)) underWay.set(digest, (underWay.get(digest) ?? 0) + bytes);
      },
    },
    blob({ digest, size }, outcome) {
      underWay.delete(digest);
      done.set(digest, { size, outcome });
    },
    absent: ({ digest }) => void absent.add(digest),
    isAbsent: ({ digest }) => absent.has(digest),
    isDone: ({ digest }) => done.has(digest),
    moved,
    copiedBytes: () => now((size) => size).copied,
    async end() {
      clearInterval(timer);
      ended.abort(new DeadlineError('replaced by the last report'));
      await reporting;
      await report(0, AbortSignal.timeout(LAST_REPORT_WITHIN_MS)).catch(() => undefined);
    },
  };
}

export const total = ({ present, copied, copiedElsewhere }: Moved): number => present + copied + copiedElsewhere;

/** A later invocation finds the blobs of an earlier one present; they still count as copied. */
function merged(before: Moved, now: Moved): Moved {
  const copied = before.copied + now.copied;
  const copiedElsewhere = before.copiedElsewhere + now.copiedElsewhere;
  const all = Math.max(total(before), total(now));
  return { copied, copiedElsewhere, present: Math.max(0, all - copied - copiedElsewhere) };
}

/** Invocations in a row without progress that end the pull. */
const MAX_IDLE = 2;
/** Invocations in a row in which every remaining blob failed at the registry. */
const MAX_FAILED = 4;
const FIRST_WAIT_AFTER_FAILURE_MS = 5_000;
/** Times that a batch waits because the registry asks for it. */
const MAX_WAITS = 8;
const MAX_WAIT_MS = 900_000;
/**
 * Pause after an invocation without progress: it may have waited for the claim of a copier that died, until that claim expires. Shorter than the lease of the
 * reference's lock.
 */
const IDLE_WAIT_MS = 90_000;
/** Failed blobs of all batches: with their reasons they take a third of the 256 KB of a state. */
const FAILURES_IN_STATE = 150;
/** For reading the checkpoints, after the deadline. */
const CHECKPOINTS_WITHIN_MS = 2_000;

/**
 * The second step of the pull (lib/pull/copy-blob.ts), for one batch of the plan. At the deadline, or if the registry asks to wait, it returns `partial`: finished
 * blobs are kept, and checkpoints of the others.
 *
 * @throws TaskError; a final one after too many calls without progress.
 */
export const copyTask = (outer: JobDeps, event: unknown, deadline: AbortSignal): Promise<CopyAnswer> =>
  asTask(outer, async (deps) => {
    const task = parseTask(copyInput, event);
    const record = await recordOfTask(deps, task.id, deadline);
    // Ended from outside, so no one needs these blobs. The publish task checks this, too.
    if (isEnded(record)) return answerOf(task, 'done');
    const plan = parsePlan(await deps.plans.read(task.plan, MAX_PLAN_BYTES, deadline), task.plan, record);
    return await underLock(deps, plan.lock, deadline, (_, signal) =>
      copyBatch({ deps, task, record, plan, signal, deadline }),
    );
  });

interface Copying {
  readonly deps: JobDeps;
  readonly task: CopyInput;
  readonly record: PullRecord;
  readonly plan: PlanDocument;
  readonly signal: AbortSignal;
  readonly deadline: AbortSignal;
}

async function copyBatch({ deps, task, record, plan, signal, deadline }: Copying): Promise<CopyAnswer> {
  const blobs = plan.batches[task.batch];
  if (blobs === undefined) throw broken(`${task.plan} has no batch ${task.batch}`);
  const upstream = await deps.pull.upstreams.open(record.request.reference.repository, signal);
  if (upstream.domain !== plan.domain) {
    const changed = 'the credentials of the registry changed to another identity after the plan was made';
    throw planAgain(new UpstreamUnavailableError('copy batch', changed));
  }
  const batch = startBatchProgress(deps.records, task);
  let stoppedBy: unknown;
  try {
    const wanted = blobs.filter((_, position) => !task.absent.includes(position));
    const { copy } = copier({ ...deps.pull, progress: batch.progress }, upstream, batch, signal);
    await copy(wanted, optionalOf(plan.content));
  } catch (error) {
    const isPartial =
      error instanceof BlobsFailedError || (error instanceof RateLimitedError && error.retryAfterMs !== undefined);
    if (!isStopped(deadline, error) && !isPartial) throw error;
    stoppedBy = error;
  } finally {
    deps.metrics.add('BytesCopied', batch.copiedBytes());
    await batch.end();
  }
  const requests = sumOfRequests(task.requests, upstream.requests);
  const absent = [...blobs.keys()].filter((at) => task.absent.includes(at) || isAbsentAt(batch, blobs, at));
  const soFar: CopyInput = { ...task, ...batch.moved(), requests, absent };
  if (stoppedBy === undefined) return answerOf({ ...soFar, idle: 0, keptBytes: 0 }, 'done');
  const keptBytes = await keptOf(deps, blobs, batch);
  const now = { ...soFar, keptBytes };
  if (stoppedBy instanceof BlobsFailedError && isFinal(task, now, stoppedBy)) {
    const stored = blobs.filter((blob) => batch.isDone(blob));
    await linkStored(deps.pull, upstream.repository, plan.content, stored, signal);
    return { ...answerOf({ ...now, idle: 0, keptBytes: 0 }, 'done'), failed: failedOf(stoppedBy, plan) };
  }
  return partialAnswer(task, now, stoppedBy);
}

const isAbsentAt = (batch: BatchProgress, blobs: readonly Descriptor[], at: number): boolean =>
  blobs[at] !== undefined && batch.isAbsent(blobs[at]);

/** Whether another invocation is pointless: no failure is retryable, or the last invocations made no progress. */
const isFinal = (before: CopyInput, now: CopyInput, { failures }: BlobsFailedError): boolean =>
  failures.every(({ error }) => !error.retryable) || (!isProgress(before, now) && now.idle + 1 >= MAX_FAILED);

const isProgress = (before: CopyInput, now: CopyInput): boolean =>
  total(now.blobs) > total(before.blobs) ||
  now.keptBytes > before.keptBytes ||
  now.absent.length > before.absent.length;

/** The first failures only: the answers of all batches must fit into the state of the execution. */
function failedOf(error: BlobsFailedError, { batches }: PlanDocument): readonly FailureOfBlob[] {
  const most = Math.max(1, Math.floor(FAILURES_IN_STATE / batches.length));
  return (failureOf(error).blobs ?? []).slice(0, most);
}

/** Bytes that checkpoints hold of the unfinished blobs; 0 if the table does not answer in time, then only finished blobs count as progress. */
async function keptOf(deps: JobDeps, blobs: readonly Descriptor[], batch: BatchProgress): Promise<number> {
  const digests = blobs.filter((blob) => !batch.isDone(blob)).map(({ digest }) => digest);
  const found = deps.pull.catalog.findBlobs(digests, AbortSignal.timeout(CHECKPOINTS_WITHIN_MS));
  const rows = await found.catch((): ReadonlyMap<Digest, BlobRow> => new Map());
  return [...rows.values()].reduce((sum, { checkpoint }) => {
    const resumable = checkpoint?.hashState !== undefined;
    return resumable ? sum + checkpoint.partsDone * checkpoint.partBytes : sum;
  }, 0);
}

function partialAnswer(before: CopyInput, now: CopyInput, stoppedBy: unknown): CopyAnswer {
  const waitMs = stoppedBy instanceof RateLimitedError ? stoppedBy.retryAfterMs : undefined;
  const waits = now.waits + (waitMs === undefined ? 0 : 1);
  if (waits > MAX_WAITS) throw finalError(stoppedBy as RateLimitedError);

  const progress = isProgress(before, now);
  const idle = progress ? 0 : now.idle + (waitMs === undefined ? 1 : 0);
  const failed = stoppedBy instanceof BlobsFailedError;
  if (!failed && idle >= MAX_IDLE) throw noProgress(now, stoppedBy);
  const pauseMs = failed ? FIRST_WAIT_AFTER_FAILURE_MS * 2 ** idle : progress ? 0 : IDLE_WAIT_MS;
  const waitSeconds = Math.ceil(Math.min(waitMs ?? pauseMs, MAX_WAIT_MS) / 1000);
  return answerOf({ ...now, idle, waits }, 'partial', waitSeconds);
}

const answerOf = (task: CopyInput, outcome: CopyAnswer['outcome'], waitSeconds = 0): CopyAnswer => ({
  ...task,
  outcome,
  waitSeconds,
});

const noProgress = ({ batch, idle }: CopyInput, cause: unknown): Error =>
  finalError(
    new NoProgressError(
      'copy batch',
      `${idle + 1} invocations in a row finished no blob of batch ${batch} and stored no part of one: the registry is too slow, or another pull holds a blob and makes no progress; pull again later, or by the command line`,
      cause,
    ),
  );
