import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { failureOfBlobs } from '../pull/failure.ts';
import { linkStored, resumePublish } from '../pull/publish.ts';
import type { BlobTally, Moved, Receipt } from '../pull/receipt.ts';
import { distinctSkipped, skippedBy, withoutAbsent, withoutSkipped } from '../pull/skipped.ts';
import { announceEnd, succeed } from './ending.ts';
import { freeLock, underLock } from './job-lock.ts';
import type { JobDeps } from './jobs.ts';
import { MAX_PLAN_BYTES, parsePlan, type PlanDocument } from './plan-document.ts';
import { isEnded } from './pull-record.ts';
import { asTask, failureFrom, TaskError } from './task-error.ts';
import {
  broken,
  failTaskSchema as failTaskInput,
  parseTask,
  type PublishTask,
  publishTaskSchema as publishTaskInput,
  type PullTask,
  recordOfTask,
  sumOfMoved,
  sumOfRequests,
} from './tasks.ts';

/**
 * The last step of the pull (lib/pull/publish.ts): writes the links, and last the pointer if we still hold the lock. Then stores the receipt and releases the lock.
 * Safe to repeat: finished steps are not done twice.
 *
 * @throws TaskError
 */
export const publishTask = (outer: JobDeps, event: unknown, signal: AbortSignal): Promise<PullTask> =>
  asTask(outer, async (deps) => {
    const task = parseTask(publishTaskInput, event);
    const { id } = task;
    const record = await recordOfTask(deps, id, signal);
    if (isEnded(record)) {
      if (record.state === 'succeeded') await announceEnd(deps, record, signal);
      await freeLock(deps, record.lock, signal);
      return { id };
    }
    const plan = parsePlan(await deps.plans.read(task.plan, MAX_PLAN_BYTES, signal), task.plan, record);
    requireAll(task, plan);
    const absent = absentOf(task, plan);
    await underLock(deps, plan.lock, signal, async (lock, work) => {
      const { reference } = record.request;
      const [first, ...others] = task.batches.flatMap(({ failed = [] }) => failed);
      if (first !== undefined) {
        const stored = storedOf(task, plan).filter((blob) => !absent.has(digestOf(blob)));
        await linkStored(deps.pull, reference.repository, plan.content, stored, work);
        const failure = failureOfBlobs([first, ...others]);
        throw new TaskError(failure.name, failure);
      }
      const receipt = receiptOf(plan, task, absent);
      if (receipt.outcome === 'hit') {
        await succeed(deps, record, receipt, work, lock);
        return;
      }
      const content = withoutAbsent(plan.content, absent);
      const recordError = await resumePublish(deps.pull, reference, { ...plan, content }, lock, work);
      const ended = recordError === undefined ? receipt : { ...receipt, recordError };
      await succeed(deps, record, ended, work, lock);
    });
    return { id };
  });

/** The root is complete only if every batch of this plan is (I2). */
function requireAll({ plan: key, batches }: PublishTask, plan: PlanDocument): void {
  const done = new Set(
    batches.filter(({ plan: of, outcome }) => of === key && outcome === 'done').map(({ batch }) => batch),
  );
  const open = [...plan.batches.keys()].filter((batch) => !done.has(batch));
  if (open.length > 0) throw broken(`batches ${open.join(', ')} of ${key} were not copied`);
}

/** Blobs that were present at planning, and those of batches without a failure. The copy task has linked those of the other batches. */
function storedOf({ batches }: PublishTask, plan: PlanDocument): readonly Descriptor[] {
  const open = new Set(
    batches.flatMap(({ batch, failed }) => (failed === undefined ? [] : (plan.batches[batch] ?? []))).map(digestOf),
  );
  return plan.content.blobs.filter((blob) => !open.has(digestOf(blob)));
}

const digestOf = ({ digest }: Descriptor): Digest => digest;

/** Blobs that the registry does not have, and that may be left out. */
function absentOf({ batches }: PublishTask, plan: PlanDocument): ReadonlySet<Digest> {
  const layers = batches.flatMap(({ batch, absent }) => absent.map((at) => plan.batches[batch]?.[at]));
  return new Set(layers.filter((layer) => layer !== undefined).map(digestOf));
}

function receiptOf(plan: PlanDocument, { batches }: PublishTask, absent: ReadonlySet<Digest>): Receipt {
  const { receipt } = plan;
  const layers = plan.content.blobs.filter((blob) => absent.has(digestOf(blob)));
  const left = { blobs: layers.length, bytes: layers.reduce((total, { size }) => total + size, 0) };
  const skipped = skippedBy(plan.content, absent);
  const missing = plan.batches.reduce((count, batch) => count + batch.length, 0);
  const sum = (kind: 'blobs' | 'bytes'): BlobTally => ({
    total: receipt[kind].total - left[kind],
    ...batches.map((batch) => batch[kind]).reduce<Moved>(sumOfMoved, movedOf(receipt[kind])),
  });
  return {
    ...receipt,
    outcome: plan.unchanged && layers.length === missing ? 'hit' : receipt.outcome,
    platforms: withoutSkipped(receipt.platforms, skipped),
    skipped: distinctSkipped([...receipt.skipped, ...skipped]),
    blobs: sum('blobs'),
    bytes: sum('bytes'),
    registryRequests: batches.map(({ requests }) => requests).reduce(sumOfRequests, receipt.registryRequests),
  };
}

const movedOf = ({ present, copied, copiedElsewhere }: Moved): Moved => ({ present, copied, copiedElsewhere });

/**
 * Ends the pull with the error of the failed task, and releases its lock. A pull that has ended already stays unchanged. Safe to repeat.
 *
 * @throws TaskError
 */
export const failTask = (outer: JobDeps, event: unknown, signal: AbortSignal): Promise<PullTask> =>
  asTask(outer, async (deps) => {
    const {
      id,
      error: { Error: name, Cause: cause },
    } = parseTask(failTaskInput, event);
    const before = await recordOfTask(deps, id, signal);
    const failure = failureFrom(name, cause);
    const record = await deps.records.fail(id, failure, signal);
    if (before.state !== 'failed' && record.state === 'failed') deps.metrics.add('PullsFailed', 1);
    await freeLock(deps, record.lock, signal);
    await announceEnd(deps, record, signal);
    return { id };
  });
